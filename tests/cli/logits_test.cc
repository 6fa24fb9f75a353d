#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const std::string kGolden = source_path("src/model/golden/opt_pre").string();

Json golden() { return Json::parse(read_text(kGolden + ".json")); }

std::string listed(const Json& ids) {
  std::string text;
  for (const Json& id : ids) text += (text.empty() ? "" : ",") + id.dump();
  return text;
}

TEST(LogitsCommand, WritesTheMatrixThatNumPyReads) {
  const TemporaryFolder folder;
  const Json reference = golden();
  const Json ids = reference["sequences"][1];
  const Finished finished =
      run_tender({"logits", kGolden, "--tokens", listed(ids), "--out", folder / "l.npy"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const std::string file = read_text(folder / "l.npy");
  ASSERT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const std::size_t header =
      static_cast<unsigned char>(file[8]) + 256U * static_cast<unsigned char>(file[9]);
  EXPECT_EQ((10 + header) % 64, 0U);
  EXPECT_THAT(file.substr(10, header),
              HasSubstr("'descr': '<f4', 'fortran_order': False, 'shape': (7, 61)"));
  ASSERT_EQ(file.size(), 10 + header + 7 * 61 * sizeof(float));
  for (std::size_t i = 0; i < 7 * 61; ++i) {
    float value = 0;
    std::memcpy(&value, file.data() + 10 + header + i * sizeof(float), sizeof(float));
    EXPECT_NEAR(value, reference["logits"][1][i / 61][i % 61].get<double>(),
                reference["bound"].get<double>());
  }
}

TEST(LogitsCommand, ShowsTheLikeliestTokensOfEveryPosition) {
  const Json reference = golden();
  const Json ids = reference["sequences"][1];
  const Finished finished =
      run_tender({"logits", kGolden, "--tokens", listed(ids), "--top", "3", "--json"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  EXPECT_TRUE(json.contains("version"));
  EXPECT_EQ(json["ids"], ids);
  EXPECT_EQ(json["vocabulary"], 61);
  ASSERT_EQ(json["positions"].size(), ids.size());
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const auto row = reference["logits"][1][t].get<std::vector<double>>();
    double sum = 0;
    for (const double logit : row) sum += std::exp(logit);
    const Json& top = json["positions"][t]["top"];
    ASSERT_EQ(top.size(), 3U);
    double before = 0;
    for (const Json& entry : top) {
      const double expected = row[entry["id"].get<std::size_t>()] - std::log(sum);
      // each logit and, with it, the logarithm of the sum is within the golden bound
      EXPECT_NEAR(entry["log_probability"].get<double>(), expected,
                  2 * reference["bound"].get<double>());
      EXPECT_LE(entry["log_probability"].get<double>(), before);
      before = entry["log_probability"].get<double>();
    }
    EXPECT_EQ(top[0]["id"], std::max_element(row.begin(), row.end()) - row.begin());
  }
}

TEST(LogitsCommand, APromptIsTokenizedAndShownAsText) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny");
  const Finished finished =
      run_tender({"logits", folder / "tiny", "--prompt", "The sea", "--json"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  EXPECT_EQ(json["positions"].size(), json["ids"].size());
  EXPECT_TRUE(json["positions"][0]["top"][0].contains("text"));
}

TEST(LogitsCommand, RefusesWhatItCannotRun) {
  const TemporaryFolder folder;
  EXPECT_EQ(run_tender({"logits", kGolden}).exit_code, 2);
  EXPECT_EQ(run_tender({"logits", kGolden, "--tokens", "1", "--prompt", "a"}).exit_code, 2);
  EXPECT_EQ(run_tender({"logits", kGolden, "--tokens", "1,x"}).exit_code, 2);
  const Finished outside = run_tender({"logits", kGolden, "--tokens", "61"});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_THAT(outside.err, HasSubstr("tender: error TOKEN_ID: "));
  write_text(folder / "l.npy", "mine");
  const Finished kept = run_tender({"logits", kGolden, "--tokens", "1", "--out", folder / "l.npy"});
  EXPECT_EQ(kept.exit_code, 1);
  EXPECT_THAT(kept.err, HasSubstr("IO_EXISTS"));
  EXPECT_EQ(read_text(folder / "l.npy"), "mine");
  EXPECT_EQ(run_tender({"logits", kGolden, "--tokens", "1", "--out", folder / "l.npy", "--force"})
                .exit_code,
            0);
}

}  // namespace
}  // namespace tender::testing
