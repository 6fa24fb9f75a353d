#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

void expect_refused(const Finished& finished, int exit_code, const std::string& code) {
  EXPECT_EQ(finished.exit_code, exit_code) << finished.err;
  EXPECT_EQ(finished.out, "");
  EXPECT_THAT(finished.err, HasSubstr("tender: error " + code + ": "));
}

class ReproduceCommandTest : public ::testing::Test {
 protected:
  ReproduceCommandTest() {
    write_tiny_model(folder_ / "tiny");
    write_text(folder_ / "text.txt", tiny_text(2000));
  }
  Finished reproduce(const std::string& experiment, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"reproduce",
                                          experiment,
                                          folder_ / "tiny",
                                          "--text",
                                          "wiki=" + (folder_ / "text.txt").string(),
                                          "--calibration",
                                          folder_ / "text.txt",
                                          "--samples",
                                          "2",
                                          "--calibration-seqlen",
                                          "32",
                                          "--seqlen",
                                          "32",
                                          "--limit",
                                          "2",
                                          "--work",
                                          folder_ / "work"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tender(arguments);
  }
  TemporaryFolder folder_;
};

TEST_F(ReproduceCommandTest, JsonHoldsEveryRowOfTheTableAndWhatItCost) {
  const Finished finished =
      reproduce("tender-table1", {"--json", "--markdown", folder_ / "table.md"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(read_text(folder_ / "table.md"), HasSubstr("| INT8 | per tensor | "));
  const Json json = Json::parse(finished.out);
  for (const char* key :
       {"version", "experiment", "protocol", "calibration", "tables", "missing", "threads", "cpu"})
    EXPECT_TRUE(json.contains(key)) << key;
  const Json& table = json["tables"][0];
  ASSERT_EQ(table["rows"].size(), 8U);
  for (const Json& row : table["rows"]) {
    EXPECT_TRUE(row["texts"]["wiki"]["excess_percent"].contains("value"));
    EXPECT_GT(row["bits_per_weight"], 4.0);
  }
  EXPECT_EQ(table["rows"][3]["name"], "Tender");
  EXPECT_EQ(table["rows"][3]["options"]["mode"], "static");
}

TEST_F(ReproduceCommandTest, WhatIsWrongOnTheCommandLineEndsWithTwo) {
  expect_refused(reproduce("alchemy"), 2, "EXPERIMENT_UNKNOWN");
  write_text(folder_ / "there.md", "mine");
  expect_refused(reproduce("tender-table1", {"--markdown", folder_ / "there.md"}), 1, "IO_EXISTS");
  expect_refused(reproduce("tender-table1", {"--plot", folder_ / "plot.svg"}), 2, "USAGE");
  expect_refused(reproduce("tender-table1", {"--text", "nameless"}), 2, "USAGE");
  expect_refused(reproduce("tender-table1", {"--protocol", "psychic"}), 2, "PROTOCOL_UNKNOWN");
}

TEST_F(ReproduceCommandTest, HelpNamesEveryExperiment) {
  const Finished help = run_tender({"reproduce", "--help"});
  for (const char* name :
       {"tender-table1", "tender-table2", "tender-table3", "tender-groups", "ablation"})
    EXPECT_THAT(help.out, HasSubstr(name));
}

TEST_F(ReproduceCommandTest, ARewriteKeepsEveryLogitWhereFactorsArePowersOfTwo) {
  const Finished rewritten = run_tender({"rewrite", folder_ / "tiny", folder_ / "loud", "--factors",
                                         "8,32", "--channels", "3", "--json"});
  ASSERT_EQ(rewritten.exit_code, 0) << rewritten.err;
  EXPECT_EQ(Json::parse(rewritten.out)["channels"].size(), 3U);
  const auto logits = [&](const std::string& model) {
    return Json::parse(
        run_tender({"logits", folder_ / model, "--tokens", "5,9,2,7", "--top", "3", "--json"}).out);
  };
  Json quiet = logits("tiny"), loud = logits("loud");
  EXPECT_EQ(loud["positions"], quiet["positions"]);
  EXPECT_FALSE(quiet["positions"].is_null());
  expect_refused(run_tender({"rewrite", folder_ / "tiny", folder_ / "loud"}), 1, "IO_EXISTS");
  write_text(folder_ / "some.txt", tiny_text(600));
  const Finished counted =
      run_tender({"rewrite", folder_ / "tiny", folder_ / "counted", "--text", folder_ / "some.txt",
                  "--samples", "2", "--seqlen", "20", "--json"});
  ASSERT_EQ(counted.exit_code, 0) << counted.err;
  const Json zeros = Json::parse(counted.out)["zero_codes"];
  EXPECT_GT(zeros["after"]["self_attn.qkv"]["per_row_4"],
            zeros["before"]["self_attn.qkv"]["per_row_4"]);
  expect_refused(run_tender({"rewrite", folder_ / "tiny", folder_ / "x", "--factors", "0"}), 2,
                 "OUTLIERS");
}

}  // namespace
}  // namespace tender::testing
