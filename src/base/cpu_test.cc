#include "base/cpu.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/kernel_choice.h"

namespace tender {
namespace {

TEST(CpuTest, EachNameAllowsWhatTheOneBeforeDoes) {
  EXPECT_EQ(allowed_isa("scalar"), Isa::scalar);
  EXPECT_FALSE(contains(allowed_isa("avx2"), Isa::avx512));
  EXPECT_FALSE(contains(allowed_isa("avx512"), Isa::vnni));
  EXPECT_FALSE(contains(allowed_isa("vnni"), Isa::amx));
  EXPECT_TRUE(contains(allowed_isa("native"), Isa::amx | Isa::vnni | Isa::avx2));
}

TEST(CpuTest, AnUnknownNameIsRefusedAndTheGoodOnesAreListed) {
  try {
    allowed_isa("pentium");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("scalar, avx2"), std::string::npos);
  }
}

TEST(CpuTest, ASetNeverStandsWithoutThoseItAddsTo) {
  const Isa isa = detected_isa();
  EXPECT_TRUE(!contains(isa, Isa::vnni) || contains(isa, Isa::avx512 | Isa::avx2));
  EXPECT_TRUE(!contains(isa, Isa::avx512) || contains(isa, Isa::avx2));
  EXPECT_TRUE(!contains(isa, Isa::amx) || contains(isa, Isa::vnni));
}

struct FakeKernel {
  std::string_view name;
  Isa needs;
};
constexpr FakeKernel kFakes[] = {{"vnni", Isa::vnni}, {"avx2", Isa::avx2}, {"scalar", Isa::scalar}};

TEST(KernelChoiceTest, TheBestOneThatTheCpuAndTheUserAllowRuns) {
  EXPECT_EQ(best_kernel(kFakes, Isa::avx2 | Isa::avx512 | Isa::vnni).name, "vnni");
  EXPECT_EQ(best_kernel(kFakes, Isa::avx2).name, "avx2");
  EXPECT_EQ(best_kernel(kFakes, Isa::scalar).name, "scalar");
  std::vector<KernelChoice> choices;
  describe_kernels("fake", kFakes, Isa::avx2, Isa::scalar, choices);
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_EQ(choices[0].why, "this CPU lacks vnni");
  EXPECT_EQ(choices[1].why, "TENDER_CPU forbids it");
  EXPECT_TRUE(choices[2].chosen);
}

}  // namespace
}  // namespace tender
