#include "compress/signature.h"

#include <gtest/gtest.h>

#include <map>

#include "quant/registry.h"

namespace tender::compress {
namespace {

/// What `tender signature` prints. A change of a value here is a change of what a method computes:
/// the commit says which method and why.
const std::map<std::string, std::string> kExpected = {
    {"ant", "713fd85e3667f3b6"},         {"gguf", "dd541cad3a426109"},
    {"gptq", "7110620a578c1afa"},        {"llm_int8", "2f688d7aaef6ff66"},
    {"olive", "a3d64e1e7c52da00"},       {"rtn", "ff32957e8fdd65dc"},
    {"smoothquant", "db0a88c550496e28"}, {"tender", "0e84d40fda85bbed"},
};

TEST(SignatureTest, IsWhatItWas) {
  std::map<std::string, std::string> found;
  for (const Signature& signature : signatures(Isa::scalar))
    found[signature.method] = signature.hash;
  EXPECT_EQ(found, kExpected);
}

TEST(SignatureTest, IsTheSameOnEveryInstructionSet) {
  const auto scalar = signatures(Isa::scalar);
  const auto host = signatures(host_isa());
  ASSERT_EQ(scalar.size(), quant::all_methods().size());
  for (std::size_t m = 0; m < scalar.size(); ++m)
    EXPECT_EQ(host[m].hash, scalar[m].hash) << scalar[m].method;
}

}  // namespace
}  // namespace tender::compress
