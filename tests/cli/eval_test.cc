#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/test_files.h"
#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

void expect(const Finished& finished, int exit_code, const std::string& code) {
  EXPECT_EQ(finished.exit_code, exit_code) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("error " + code + ":"));
  EXPECT_EQ(finished.out, "");
}

class EvalCommandTest : public ::testing::Test {
 protected:
  EvalCommandTest() {
    write_tiny_model(folder_ / "tiny");
    write_text(folder_ / "text.txt", tiny_text(4000));
  }
  Finished eval(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"eval", "perplexity", folder_ / "tiny", "--text",
                                          folder_ / "text.txt"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tender(arguments);
  }
  TemporaryFolder folder_;
};

TEST_F(EvalCommandTest, PerplexityHasAllKeys) {
  const Finished finished = eval({"--json", "--seqlen", "128"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  for (const char* key :
       {"version", "perplexity", "standard_error", "tokens", "scored_tokens", "windows", "protocol",
        "seqlen", "join", "text_sha256", "seconds", "model", "method", "kernels", "threads"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["protocol"], "gptq");
  EXPECT_EQ(json["join"], "none");
  EXPECT_EQ(json["seqlen"], 128);
  EXPECT_EQ(json["scored_tokens"], json["windows"].get<int>() * 127);
}

TEST_F(EvalCommandTest, BothProtocolsPrintAValueAndItsUncertainty) {
  for (const char* protocol : {"gptq", "llama.cpp"}) {
    const Finished finished = eval({"--protocol", protocol, "--seqlen", "64", "--limit", "3"});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_THAT(finished.out, HasSubstr("perplexity "));
    EXPECT_THAT(finished.out, HasSubstr(" ± "));
    EXPECT_THAT(finished.out, HasSubstr("3 of "));
  }
}

TEST_F(EvalCommandTest, TheValueIsTheSameForAnyThreadsAndInstructionSet) {
  std::string first;
  for (const char* cpu : {"scalar", "avx2", "native"})
    for (const char* threads : {"1", "2"}) {
      const Finished finished =
          run_tender({"eval", "perplexity", folder_ / "tiny", "--text", folder_ / "text.txt",
                      "--json", "--seqlen", "100", "--limit", "4", "-t", threads},
                     {{"TENDER_CPU", cpu}});
      ASSERT_EQ(finished.exit_code, 0) << finished.err;
      const std::string value = Json::parse(finished.out)["perplexity"].dump();
      if (first.empty()) first = value;
      EXPECT_EQ(value, first) << cpu << ", " << threads << " threads";
    }
}

TEST_F(EvalCommandTest, WrongCommandLinesEndWithTwoAndWrongTextsWithOne) {
  expect(eval({"--protocol", "mine"}), 2, "PROTOCOL_UNKNOWN");
  expect(eval({"--join", "glue"}), 2, "JOIN_UNKNOWN");
  expect(eval({"--seqlen", "1"}), 2, "SEQLEN");
  expect(eval({"--limit", "0"}), 2, "LIMIT");
  expect(run_tender({"eval"}), 2, "USAGE");
  expect(eval({"--seqlen", "100000"}), 1, "TXT_TOO_SHORT");
  write_text(folder_ / "text.txt", std::string("abc\0def", 7));
  expect(eval({}), 1, "TXT_UTF8");
}

TEST_F(EvalCommandTest, BenchReportsMediansWithTheirRange) {
  const Finished finished = run_tender(
      {"bench", folder_ / "tiny", "-p", "16", "-n", "4", "-r", "3", "-t", "1", "--json"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  for (const std::string rate : {"prefill_tokens_per_second", "decode_tokens_per_second"})
    for (const std::string suffix : {"", "_min", "_max"}) EXPECT_GT(json[rate + suffix], 0.0);
  EXPECT_EQ(json["threads"], 1);
  EXPECT_FALSE(json["kernels"].empty());
  EXPECT_FALSE(json.contains("all_kernels"));
  EXPECT_EQ(run_tender({"bench", folder_ / "tiny", "-r", "0"}).exit_code, 2);
}

TEST_F(EvalCommandTest, BenchHoldsItsRatesAgainstWhatTheMachineDoes) {
  const auto bench = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"bench", folder_ / "tiny", "-r", "1", "-t",
                                          "1",     "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished finished = run_tender(arguments);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return Json::parse(finished.out);
  };
  const Json both = bench({"-p", "16", "-n", "4", "--kernels"});
  EXPECT_GT(both["read_probe_gb_per_second"], 0.0);
  EXPECT_NEAR(
      both["decode_share_of_probe"].get<double>(),
      both["decode_gb_per_second"].get<double>() / both["read_probe_gb_per_second"].get<double>(),
      1e-9);
  EXPECT_NEAR(
      both["decode_gb_per_second"].get<double>(),
      both["decode_tokens_per_second"].get<double>() * both["decode_bytes"].get<double>() / 1e9,
      1e-9);
  EXPECT_GT(both["prefill_gops"], 0.0);
  EXPECT_EQ(both["integer_peak_gops"].is_null(), both["prefill_share_of_peak"].is_null());
  EXPECT_FALSE(both["all_kernels"].empty());
  EXPECT_TRUE(bench({"-p", "0", "-n", "1"})["prefill_gops"].is_null());
  EXPECT_TRUE(bench({"-p", "4", "-n", "0"})["decode_share_of_probe"].is_null());
}

TEST_F(EvalCommandTest, BenchRunsPublishedShapesWithRandomWeights) {
  const auto bench = [&](const char* type) {
    return run_tender({"bench", "--synthetic", "smollm2-135m", "--weight-type", type, "-p", "2",
                       "-n", "1", "-r", "1", "-t", "1", "--json"});
  };
  const Finished finished = bench("Q4_0");
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out);
  EXPECT_EQ(json["model"]["parameters"], 134515008);
  EXPECT_EQ(json["weights"], "packed");
  EXPECT_EQ(json["method"], "gguf");
  for (const char* read_only : {"Q4_K", "Q5_0", "Q5_1", "Q6_K"}) {
    const Finished refused = bench(read_only);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_EQ(Json::parse(refused.out)["error"]["code"], "SYNTHETIC") << read_only;
  }
  EXPECT_EQ(bench("none").exit_code, 2);
  expect(run_tender({"bench", "--synthetic", "gpt-9"}), 2, "SYNTHETIC");
  expect(run_tender({"bench", "--synthetic", "llama-1b", "--weight-type", "q4_0"}), 2, "SYNTHETIC");
  expect(run_tender({"bench", folder_ / "tiny", "--weight-type", "Q4_0"}), 2, "USAGE");
  expect(run_tender({"bench", folder_ / "tiny", "--peer-model", "nowhere.gguf"}), 2, "USAGE");
  expect(run_tender({"bench"}), 2, "USAGE");
  expect(run_tender({"bench", "--synthetic", "llama-1b", "--compare", "llama.cpp"}), 2, "USAGE");
}

/// An engine that takes half a second for everything.
void write_peer(const std::filesystem::path& path) {
  write_text(path,
             "#!/bin/sh\necho '{\"version\":\"fake 1\",\"system\":\"none\"}'\n"
             "while read -r line; do echo '{\"seconds\":0.5}'; done\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

TEST_F(EvalCommandTest, BenchComparesWithAnotherEngineRunByRun) {
  write_peer(folder_ / "python");
  io::testing::GgufFile gguf = io::testing::gguf_file();
  gguf.floats("token_embd.weight", {4, 2}, std::vector<float>(8, 1.0F));
  write_text(folder_ / "peer.gguf", gguf.bytes());
  const auto bench = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "bench", folder_ / "tiny", "-p", "8", "-n", "4", "-r", "2", "-t", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tender(arguments);
  };
  const auto finished = bench({"--compare", "llama.cpp", "--peer-model", folder_ / "peer.gguf",
                               "--peer-python", folder_ / "python", "--json"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const Json json = Json::parse(finished.out), peer = json["peer"];
  EXPECT_EQ(peer["version"], "fake 1");
  EXPECT_EQ(peer["head_type"], "F32");
  EXPECT_EQ(peer["prefill_tokens_per_second"], 16.0);
  EXPECT_EQ(peer["decode_tokens_per_second"], 8.0);
  EXPECT_GT(peer["prefill_ratio"], 0.0);
  EXPECT_LE(peer["decode_ratio_min"], peer["decode_ratio"]);

  expect(bench({"--compare", "vllm", "--peer-model", folder_ / "peer.gguf"}), 2, "PEER_UNKNOWN");
  expect(bench({"--compare", "llama.cpp"}), 2, "USAGE");
  expect(bench({"--compare", "llama.cpp", "--peer-model", folder_ / "tiny"}), 2, "USAGE");
  expect(bench({"--compare", "llama.cpp", "--peer-model", folder_ / "peer.gguf", "--peer-python",
                folder_ / "none"}),
         1, "CHILD_START");
  write_text(folder_ / "python", "#!/bin/sh\necho hello\n");
  expect(bench({"--compare", "openvino", "--peer-model", folder_ / "peer.gguf", "--peer-python",
                folder_ / "python"}),
         1, "CHILD_ANSWER");
  write_text(folder_ / "python", "#!/bin/sh\necho no such package >&2\nexit 1\n");
  expect(bench({"--compare", "openvino", "--peer-model", folder_ / "peer.gguf", "--peer-python",
                folder_ / "python"}),
         1, "CHILD_ENDED");
}

TEST_F(EvalCommandTest, SignatureNamesEveryMethodOnce) {
  const Json json = Json::parse(run_tender({"signature", "--json"}).out);
  EXPECT_TRUE(json["signatures"].contains("tender"));
  EXPECT_TRUE(json["signatures"].contains("rtn"));
  EXPECT_EQ(json, Json::parse(run_tender({"signature", "--json"}, {{"TENDER_CPU", "scalar"}}).out));
}

}  // namespace
}  // namespace tender::testing
