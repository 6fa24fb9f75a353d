#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class QuantizeCommandTest : public ::testing::Test {
 protected:
  QuantizeCommandTest() {
    write_tiny_model(model());
    write_text(text(), tiny_text(6000));
  }
  std::string model() const { return folder_ / "tiny"; }
  std::string text() const { return folder_ / "text.txt"; }
  std::string out() const { return folder_ / "out"; }

  std::vector<std::string> quantize(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"quantize", model(), out()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  void expect_refused(const Finished& finished, int exit_code, const std::string& code) const {
    EXPECT_EQ(finished.exit_code, exit_code) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, HasSubstr("tender: error " + code + ": "));
    EXPECT_FALSE(std::filesystem::exists(out()));
  }

  TemporaryFolder folder_;
};

TEST_F(QuantizeCommandTest, CalibrationsAreMergedShownAndLoaded) {
  const auto file = [&](const char* name) -> std::string { return folder_ / name; };
  for (const char* seed : {"1", "2"}) {
    const Finished saved = run_tender(quantize(
        {"--method", "tender", "--mode", "static", "--calibration", text(), "--samples", "3",
         "--seqlen", "48", "--seed", seed, "--save-calibration", file(seed), "--force"}));
    ASSERT_EQ(saved.exit_code, 0) << saved.err;
  }
  const Finished merged =
      run_tender({"calibration", "merge", file("both"), file("1"), file("2"), "--json"});
  ASSERT_EQ(merged.exit_code, 0) << merged.out;
  Json json = Json::parse(merged.out);
  EXPECT_EQ(json["output"], file("both"));
  const Finished shown = run_tender({"inspect", file("both"), "--json"});
  json.erase("output");
  EXPECT_EQ(Json::parse(shown.out), json);
  EXPECT_EQ(json["calibration"]["method"], "tender");
  EXPECT_EQ(json["calibration"]["options"]["mode"], "static");
  EXPECT_EQ(json["calibration"]["model_sha256"].get<std::string>().size(), 64U);
  ASSERT_EQ(json["calibration"]["texts"].size(), 2U);
  EXPECT_EQ(json["calibration"]["texts"][0]["seed"], 1);
  EXPECT_EQ(json["calibration"]["texts"][1]["seqlen"], 48);
  ASSERT_FALSE(json["sites"].empty());
  EXPECT_EQ(json["sites"][0]["rows"], 2 * 3 * 48);
  EXPECT_LT(json["sites"][0]["least"], json["sites"][0]["largest"]);

  const Finished people = run_tender({"inspect", file("1")});
  EXPECT_EQ(people.exit_code, 0) << people.err;
  EXPECT_THAT(people.out, HasSubstr("calibration  of tender"));
  EXPECT_THAT(people.out, HasSubstr("3 windows of 48 tokens, seed 1"));

  std::filesystem::remove_all(out());
  EXPECT_EQ(run_tender(quantize({"--method", "tender", "--mode", "static", "--load-calibration",
                                 file("both")}))
                .exit_code,
            0);
  std::filesystem::remove_all(out());
  EXPECT_EQ(run_tender({"calibration", "merge", file("both"), file("1"), file("2")}).exit_code, 1)
      << "it is there";
  EXPECT_EQ(run_tender({"calibration", "merge", file("x"), file("1")}).exit_code, 2) << "one alone";
  const Finished twice =
      run_tender({"calibration", "merge", file("x"), file("1"), file("both"), "--json"});
  EXPECT_EQ(Json::parse(twice.out)["error"]["code"], "CALIBRATION_CONFLICT");
  EXPECT_EQ(run_tender({"inspect", file("1"), "--verify"}).exit_code, 2);
}

TEST_F(QuantizeCommandTest, TheHeadHasEightBitsBesideIntegerProducts) {
  const auto has_head = [&](std::vector<std::string> more) {
    more.insert(more.end(),
                {"--calibration", text(), "--samples", "2", "--seqlen", "32", "--force"});
    EXPECT_EQ(run_tender(quantize(more)).exit_code, 0);
    const Json config = Json::parse(read_text(out() + "/config.json"));
    return config["quantization_config"]["layers"].contains("lm_head");
  };
  EXPECT_TRUE(has_head({"--method", "tender"}));
  EXPECT_TRUE(has_head({"--method", "gguf"}));
  EXPECT_FALSE(has_head({"--method", "tender", "--head-bits", "0"}));
  EXPECT_FALSE(has_head({"--method", "rtn", "--activation-granularity", "none"}));
  EXPECT_FALSE(has_head({"--method", "rtn", "--activation-granularity", "channel"}));
  EXPECT_FALSE(has_head({"--method", "ant"}));
  EXPECT_TRUE(has_head({"--method", "ant", "--head-bits", "8"}));
}

TEST_F(QuantizeCommandTest, KindsOfSitesStayFloatByTheirNamesWithCommas) {
  const Finished done =
      run_tender(quantize({"--method", "rtn", "--keep-float", "o_proj,down_proj", "--json"}));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(Json::parse(done.out)["layers"].size(), 2U * 5U);
  std::filesystem::remove_all(out());
  expect_refused(run_tender(quantize({"--method", "rtn", "--keep-float", "o_proj,fc1"})), 2,
                 "KEEP_FLOAT");
}

TEST_F(QuantizeCommandTest, WhatCalibratedRangesMeetIsToldByGenerate) {
  ASSERT_EQ(run_tender(quantize({"--method", "tender", "--mode", "static", "--chunk-rows", "8",
                                 "--calibration", text(), "--samples", "2", "--seqlen", "16"}))
                .exit_code,
            0);
  const std::vector<std::string> generate = {
      "generate", out(), "--prompt", std::string(tiny_text(200)), "-n", "4"};
  const Finished shown = run_tender(generate);
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.err, HasSubstr("clipped by calibrated ranges: self_attn.qkv"));
  EXPECT_THAT(shown.err, HasSubstr("rows past the calibrated positions"));
  std::vector<std::string> in_json = generate;
  in_json.push_back("--json");
  const Json counts = Json::parse(run_tender(in_json).out)["counts"]["mlp.down_proj"];
  EXPECT_GT(counts["beyond"].get<int>(), 0);
  EXPECT_GT(counts["rows"].get<int>(), counts["beyond"].get<int>());
}

TEST_F(QuantizeCommandTest, EndsWithSizesBeforeAndAfterAndWithAllKeys) {
  const std::vector<std::string> common = {"--method",          "tender", "--weight-bits", "8",
                                           "--activation-bits", "8",      "--calibration", text(),
                                           "--samples",         "4",      "--seqlen",      "64"};
  const Finished people = run_tender(quantize(common));
  EXPECT_EQ(people.exit_code, 0) << people.err;
  EXPECT_THAT(people.out, HasSubstr("before"));
  EXPECT_THAT(people.out, HasSubstr("after"));
  EXPECT_THAT(people.out, HasSubstr("14 matrices from F32"));

  auto again = quantize(common);
  again.insert(again.end(), {"--json", "--force", "-t", "2"});
  const Finished machine = run_tender(again);
  EXPECT_EQ(machine.exit_code, 0) << machine.err;
  const Json json = Json::parse(machine.out);
  for (const char* key : {"version", "bits_per_weight", "bits_per_weight_model", "bytes", "seconds",
                          "peak_rss_bytes", "layers"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["layers"].size(), 14U);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["calibration"]["windows"], 4);
  EXPECT_EQ(json["bytes"], std::filesystem::file_size(out() + "/model.safetensors"));
}

TEST_F(QuantizeCommandTest, WhatIsWrongOnTheCommandLineEndsWithTwo) {
  expect_refused(run_tender(quantize({"--method", "awq"})), 2, "METHOD_UNKNOWN");
  expect_refused(run_tender(quantize({})), 2, "USAGE");
  expect_refused(run_tender(quantize({"--method", "tender"})), 2, "CALIBRATION_NEEDED");
  expect_refused(
      run_tender(quantize({"--method", "tender", "--weight-bits", "5", "--calibration", text()})),
      2, "OPTION_VALUE");
  expect_refused(run_tender(quantize({"--method", "rtn", "--mode", "static"})), 2,
                 "OPTION_UNKNOWN");
  expect_refused(
      run_tender(quantize({"--method", "tender", "--group-size", "32", "--calibration", text()})),
      2, "OPTION_UNKNOWN");
  expect_refused(run_tender(quantize({"--method", "rtn", "--weight-granularity", "galaxy"})), 2,
                 "OPTION_VALUE");
  expect_refused(run_tender(quantize({"--method", "rtn", "--weight-bits", "many"})), 2,
                 "OPTION_VALUE");
  expect_refused(run_tender(quantize({"--method", "rtn", "--float-dtype", "f64"})), 2,
                 "FLOAT_DTYPE");
  expect_refused(
      run_tender(quantize({"--method", "tender", "--calibration", text(), "--samples", "0"})), 2,
      "SAMPLES");
  expect_refused(run_tender(quantize({"--method", "rtn"}), {{"TENDER_CPU", "abacus"}}), 2,
                 "CPU_NAME");
}

TEST_F(QuantizeCommandTest, AnOutputThatHoldsTheModelIsRefusedEvenWithForce) {
  for (const std::string& place : {model(), model() + "/", folder_.path().string()})
    for (const std::string& command : {std::string("quantize"), std::string("convert")}) {
      std::vector<std::string> arguments = {command, model(), place, "--force"};
      if (command == "quantize") arguments.insert(arguments.end(), {"--method", "rtn"});
      const Finished finished = run_tender(arguments);
      EXPECT_EQ(finished.exit_code, 2) << finished.err;
      EXPECT_THAT(finished.err, HasSubstr("tender: error IO_PATH: "));
      EXPECT_TRUE(std::filesystem::exists(model() + "/config.json"));
    }
}

TEST_F(QuantizeCommandTest, AFlippedBitOfTheResultIsRefusedByEveryReader) {
  EXPECT_EQ(run_tender(quantize({"--method", "rtn"})).exit_code, 0);
  const std::string file = out() + "/model.safetensors";
  std::string bytes = read_text(file);
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 1);
  write_text(file, bytes);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"generate", out(), "--prompt", "a", "-n", "1"},
        {"eval", "perplexity", out(), "--text", text(), "--seqlen", "32"},
        {"convert", out(), folder_ / "float"},
        {"inspect", out(), "--verify"}}) {
    const Finished finished = run_tender(arguments);
    EXPECT_EQ(finished.exit_code, 1) << arguments.front();
    EXPECT_THAT(finished.err, HasSubstr("tender: error CK_CHECKSUM: ")) << arguments.front();
  }
}

TEST_F(QuantizeCommandTest, AFlagOfAnotherMethodIsNamed) {
  const Finished finished = run_tender(quantize({"--method", "rtn", "--mode", "static"}));
  EXPECT_THAT(finished.err, HasSubstr("--mode"));
  EXPECT_THAT(finished.err, HasSubstr("rtn"));
}

TEST_F(QuantizeCommandTest, WhatIsWrongWithFilesEndsWithOne) {
  expect_refused(run_tender(quantize({"--method", "tender", "--calibration", "/no/such/text"})), 1,
                 "IO_NOT_FOUND");
  write_text(text(), "ab\xff");
  expect_refused(run_tender(quantize({"--method", "tender", "--calibration", text()})), 1,
                 "TXT_UTF8");
  write_text(text(), "");
  expect_refused(run_tender(quantize({"--method", "tender", "--calibration", text()})), 1,
                 "TXT_TOO_SHORT");
  write_text(folder_ / "c.jsonl", "{\"text\": \"a\"}\n{\"text\"\n");
  expect_refused(run_tender(quantize({"--method", "tender", "--calibration", folder_ / "c.jsonl"})),
                 1, "JSONL_LINE");
  std::filesystem::remove(model() + "/model.safetensors");
  EXPECT_EQ(run_tender(quantize({"--method", "rtn"})).exit_code, 1);
}

TEST_F(QuantizeCommandTest, AttentionIsStoredInIntegersWhereThatIsAskedFor) {
  const std::vector<std::string> common = {"--method",  "tender", "--calibration", text(),
                                           "--samples", "4",      "--seqlen",      "64"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), common.begin(), common.end());
    more.insert(more.end(), {"--force", "-q"});
    return run_tender(quantize(more));
  };
  const auto stored = [&] {
    return Json::parse(read_text(std::filesystem::path(out()) / "config.json"))
        .at("quantization_config");
  };
  ASSERT_EQ(with({}).exit_code, 0);
  EXPECT_FALSE(stored().contains("attention"));
  ASSERT_EQ(with({"--kv-bits", "4"}).exit_code, 0);
  EXPECT_EQ(stored()["attention"], (Json{{"bits", 8}, {"kv_bits", 4}}));
  ASSERT_EQ(with({"--attention-bits", "4"}).exit_code, 0);
  EXPECT_EQ(stored()["attention"], (Json{{"bits", 4}, {"kv_bits", 4}}));
  ASSERT_EQ(with({"--attention-bits", "8", "--kv-bits", "4"}).exit_code, 0);

  const Finished text_of = run_tender({"inspect", out()});
  EXPECT_THAT(text_of.out, HasSubstr("8 bits, KV cache of 4 bits"));
  const Finished json_of = run_tender({"inspect", out(), "--json"});
  EXPECT_EQ(Json::parse(json_of.out)["attention"], (Json{{"bits", 8}, {"kv_bits", 4}}));

  const auto bench = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"bench", out(), "-p", "4",  "-n",
                                          "2",     "-r",  "1",  "-q", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished finished = run_tender(arguments);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return Json::parse(finished.out);
  };
  const Json as_stored = bench({}), wider = bench({"--kv-bits", "8"});
  EXPECT_EQ(as_stored["attention"], (Json{{"bits", 8}, {"kv_bits", 4}}));
  EXPECT_EQ(wider["attention"], (Json{{"bits", 8}, {"kv_bits", 8}}));
  EXPECT_LT(as_stored["cache_bytes_per_token"].get<int>(),
            wider["cache_bytes_per_token"].get<int>());
  const Finished generated = run_tender(
      {"generate", model(), "--prompt", "ab", "-n", "3", "--kv-bits", "4", "-q", "--json"});
  EXPECT_EQ(generated.exit_code, 0) << generated.err;
  EXPECT_GT(Json::parse(generated.out)["cache_bytes"].get<int>(), 0);
}

TEST_F(QuantizeCommandTest, OtherBitsOfAttentionAreRefused) {
  expect_refused(run_tender(quantize({"--method", "rtn", "--attention-bits", "6"})), 2, "KV_BITS");
  expect_refused(run_tender(quantize({"--method", "rtn", "--kv-bits", "none"})), 2, "KV_BITS");
  EXPECT_THAT(run_tender({"bench", model(), "--kv-bits", "5"}).err, HasSubstr("KV_BITS"));
  EXPECT_THAT(run_tender({"eval", "perplexity", model(), "--text", text(), "--kv-bits", "5"}).err,
              HasSubstr("KV_BITS"));
}

TEST_F(QuantizeCommandTest, HelpShowsTheOptionsOfEveryMethod) {
  const Finished help = run_tender({"quantize", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag : {"--weight-bits", "--activation-bits", "--mode", "--groups",
                           "--chunk-rows", "--weight-granularity", "--group-size",
                           "--activation-granularity", "--calibration", "--samples", "--seqlen",
                           "--seed", "--float-dtype", "--force", "--attention-bits", "--kv-bits"})
    EXPECT_THAT(help.out, HasSubstr(flag));
}

TEST_F(QuantizeCommandTest, TheBytesDoNotDependOnTenderCpu) {
  std::string first;
  for (const char* cpu : {"scalar", "avx2", "native"}) {
    auto arguments = quantize({"--method", "tender", "--calibration", text(), "--samples", "3",
                               "--seqlen", "32", "--force"});
    const Finished finished = run_tender(arguments, {{"TENDER_CPU", cpu}});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    const std::string bytes = read_text(std::filesystem::path(out()) / "model.safetensors");
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << cpu;
  }
}

}  // namespace
}  // namespace tender::testing
