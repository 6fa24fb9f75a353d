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

class EvalCompareCommandTest : public ::testing::Test {
 protected:
  EvalCompareCommandTest() {
    write_tiny_model(folder_ / "tiny");
    write_text(folder_ / "text.txt", tiny_text(4000));
    const Finished made = run_tender({"quantize", folder_ / "tiny", folder_ / "rtn", "--method",
                                      "rtn", "--weight-bits", "4", "-q"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }
  Finished compare(const std::vector<std::string>& models, std::vector<std::string> more = {},
                   const std::vector<std::pair<std::string, std::string>>& environment = {}) const {
    std::vector<std::string> arguments = {"eval", "compare"};
    for (const std::string& model : models) arguments.push_back(folder_ / model);
    for (const std::string& each :
         {std::string("--text"), (folder_ / "text.txt").string(), std::string("--seqlen"),
          std::string("64"), std::string("--limit"), std::string("5")})
      arguments.push_back(each);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tender(arguments, environment);
  }
  TemporaryFolder folder_;
};

TEST_F(EvalCompareCommandTest, JsonHoldsTheBaseAndEveryModelWithWhatTheyCost) {
  const Finished finished = compare({"tiny", "rtn", "tiny"}, {"--json"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  for (const char* key : {"version", "protocol", "seqlen", "join", "text_sha256", "windows",
                          "scored_tokens", "seconds", "base", "models", "threads", "cpu"})
    EXPECT_TRUE(json.contains(key)) << key;
  ASSERT_EQ(json["models"].size(), 2U);
  const Json& rtn = json["models"][0];
  for (const char* key :
       {"perplexity", "cross_entropy_difference", "perplexity_ratio", "excess_percent",
        "kl_divergence", "kl_divergence_percentiles", "same_top", "rms_delta_p", "model", "method",
        "kernels", "file_bytes", "bits_per_weight", "bits_per_activation", "quantization"})
    EXPECT_TRUE(rtn.contains(key)) << key;
  EXPECT_GT(rtn["kl_divergence"]["value"], 0.0);
  EXPECT_EQ(rtn["quantization"]["options"]["weight_bits"], 4);
  EXPECT_EQ(rtn["model"]["name"], "rtn");
  // Inputs of the tiny model are 48 wide but for one of 88 per layer, in 3 and 1 of 4 sites.
  EXPECT_DOUBLE_EQ(rtn["bits_per_activation"].get<double>(), 8 + 4 * 32.0 / (3 * 48 + 88));
  EXPECT_EQ(json["base"]["bits_per_weight"], 32.0);
  EXPECT_EQ(json["base"]["bits_per_activation"], 32.0);
  const Json& same = json["models"][1];
  EXPECT_EQ(same["excess_percent"]["value"], 0.0);
  EXPECT_EQ(same["kl_divergence"]["value"], 0.0);
  EXPECT_EQ(same["same_top"]["value"], 1.0);
  EXPECT_EQ(same["perplexity"], json["base"]["perplexity"]);
}

TEST_F(EvalCompareCommandTest, BitsPerWeightAreThoseThatQuantizeReports) {
  const Json report = Json::parse(read_text(folder_ / "rtn/tender_report.json"));
  const Json json = Json::parse(compare({"tiny", "rtn"}, {"--json"}).out);
  EXPECT_EQ(json["models"][0]["bits_per_weight"], report["totals"]["bits_per_weight"]);
}

TEST_F(EvalCompareCommandTest, TablesNameModelsAndProtocol) {
  const Finished finished = compare({"tiny", "rtn"}, {"--protocol", "llama.cpp"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  for (const char* part : {"tiny ", "rtn ", "mean KLD", "same top p", "RMS Δp", " ± ", "base",
                           "protocol llama.cpp, 5 of ", "± of tokens"})
    EXPECT_THAT(finished.out, HasSubstr(part));
}

TEST_F(EvalCompareCommandTest, NumbersAreTheSameForAnyThreadsAndInstructionSet) {
  std::string first;
  for (const char* cpu : {"scalar", "avx2", "native"})
    for (const char* threads : {"1", "2"}) {
      const Finished finished =
          compare({"tiny", "rtn"}, {"--json", "-t", threads}, {{"TENDER_CPU", cpu}});
      ASSERT_EQ(finished.exit_code, 0) << finished.err;
      Json model = Json::parse(finished.out)["models"][0];
      model.erase("kernels");
      model["model"].erase("resident_bytes");  // each kernel arranges weights in its own way
      if (first.empty()) first = model.dump();
      EXPECT_EQ(model.dump(), first) << cpu << ", " << threads << " threads";
    }
}

TEST_F(EvalCompareCommandTest, WithLittleMemoryTheNumbersAreTheSameLayerByLayer) {
  const Finished whole = compare({"tiny", "rtn"}, {"--json"});
  const Finished streamed = compare({"tiny", "rtn"}, {"--json", "--memory", "0.001"});
  ASSERT_EQ(streamed.exit_code, 0) << streamed.err;
  const Json a = Json::parse(whole.out)["models"][0], b = Json::parse(streamed.out)["models"][0];
  EXPECT_EQ(b["perplexity"], a["perplexity"]);
  EXPECT_EQ(b["kl_divergence"], a["kl_divergence"]);
  EXPECT_EQ(a["model"]["layer_by_layer"], false);
  for (const char* wrong : {"nan", "0", "-1", "1e7", "much", ""})
    EXPECT_EQ(compare({"tiny", "rtn"}, {"--memory", wrong}).exit_code, 2) << wrong;
}

TEST_F(EvalCompareCommandTest, OtherTokenizersAndMissingModelsAreRefused) {
  write_tiny_model(folder_ / "bos", {.adds_bos = true});
  const Finished other = compare({"tiny", "bos"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("error COMPARE_TOKENIZER: bos: "));
  EXPECT_THAT(other.err, HasSubstr("whether it adds BOS is yes, expected no"));
  EXPECT_EQ(other.out, "");
  EXPECT_EQ(compare({"tiny"}).exit_code, 2);
  EXPECT_THAT(compare({"tiny", "absent"}).err, HasSubstr("error IO_NOT_FOUND"));
}

}  // namespace
}  // namespace tender::testing
