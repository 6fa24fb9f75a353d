// --weights: what becomes of weights that a GGUF file holds in blocks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/test_files.h"
#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr std::int32_t kF16 = 1, kQ8_0 = 8;  // as GGUF numbers them

/// A Llama of one layer whose blocks are all alike; bench needs no tokenizer.
void write_block_model(const std::filesystem::path& path, std::int32_t type_of_down) {
  constexpr std::uint64_t kWidth = 64, kVocabulary = 32;
  io::testing::GgufFile file = io::testing::gguf_file();
  for (const auto& [key, value] :
       {std::pair{"llama.embedding_length", 64U}, std::pair{"llama.block_count", 1U},
        std::pair{"llama.feed_forward_length", 64U}, std::pair{"llama.attention.head_count", 4U},
        std::pair{"llama.context_length", 64U}})
    file.u32(key, value);
  file.key("llama.attention.layer_norm_rms_epsilon", io::testing::kF32, io::testing::raw(1e-5F));
  const auto matrix = [&](const char* name, std::uint64_t rows, std::int32_t type) {
    const std::size_t bytes = rows * (type == kQ8_0 ? kWidth / 32 * 34 : 2 * kWidth);
    file.tensor(name, {kWidth, rows}, type, bytes);
  };
  matrix("token_embd.weight", kVocabulary, kQ8_0);
  for (const char* norm : {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"})
    file.floats(norm, {kWidth}, std::vector<float>(kWidth, 1.0F));
  for (const char* name :
       {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight",
        "blk.0.attn_output.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"})
    matrix(name, kWidth, kQ8_0);
  matrix("blk.0.ffn_down.weight", kWidth, type_of_down);
  write_text(path, file.bytes());
}

class WeightsTest : public ::testing::Test {
 protected:
  static Finished bench(const std::string& model, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"bench", model, "-p", "4", "-n", "2", "-r", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tender(arguments);
  }
  static Json json_of(const Finished& finished) {
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return Json::parse(finished.out);
  }
  static void expect(const Finished& finished, const std::string& code) {
    EXPECT_EQ(finished.exit_code, 2) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr("error " + code + ":"));
    EXPECT_EQ(finished.out, "");
  }
  TemporaryFolder folder_;
};

TEST_F(WeightsTest, BenchRunsBlocksPackedUnlessItIsToldOtherwise) {
  write_block_model(folder_ / "model.gguf", kQ8_0);
  const Json packed = json_of(bench(folder_ / "model.gguf", {"--json"}));
  EXPECT_EQ(packed["weights"], "packed");
  EXPECT_EQ(packed["method"], "gguf");
  EXPECT_THAT(packed["kernels"]["lm_head"].get<std::string>(), HasSubstr("Q8_0"));
  const Json floats =
      json_of(bench(folder_ / "model.gguf", {"--json", "--weights", "dequantized"}));
  EXPECT_EQ(floats["weights"], "dequantized");
  EXPECT_EQ(floats["method"], "float");
  EXPECT_LT(packed["model"]["resident_bytes"].get<std::size_t>() * 3,
            floats["model"]["resident_bytes"].get<std::size_t>());
  EXPECT_THAT(bench(folder_ / "model.gguf", {}).out, HasSubstr("weights packed"));
}

TEST_F(WeightsTest, ASiteThatIsNotInBlocksIsNamedWithItsReason) {
  write_block_model(folder_ / "model.gguf", kF16);
  const Json json = json_of(bench(folder_ / "model.gguf", {"--json"}));
  EXPECT_EQ(json["weights"], "packed and dequantized");
  EXPECT_THAT(json["kernels"]["mlp.down_proj"].get<std::string>(),
              HasSubstr("F16 is not multiplied as stored"));
  const Json facts = json_of(run_tender({"inspect", folder_ / "model.gguf", "--json"}));
  EXPECT_EQ(facts["packed"]["sites"], 4);
  ASSERT_EQ(facts["packed"]["dequantized"].size(), 1U);
  EXPECT_EQ(facts["packed"]["dequantized"][0]["name"], "model.layers.0.mlp.down_proj");
  EXPECT_THAT(run_tender({"inspect", folder_ / "model.gguf"}).out,
              HasSubstr("4 of 5 sites; in float32: mlp.down_proj 1 (F16 is not"));
}

TEST_F(WeightsTest, WhatAModelCannotDoIsRefused) {
  write_tiny_model(folder_ / "tiny");
  expect(bench(folder_ / "tiny", {"--weights", "fast"}), "USAGE");
  expect(bench(folder_ / "tiny", {"--weights", "packed"}), "WEIGHTS");
  EXPECT_EQ(json_of(bench(folder_ / "tiny", {"--json"}))["weights"], "dequantized");
  ASSERT_EQ(run_tender({"quantize", folder_ / "tiny", folder_ / "small", "--method", "gguf",
                        "--weight-type", "q8_0", "--head-bits", "0"})
                .exit_code,
            0);
  expect(bench(folder_ / "small", {"--weights", "dequantized"}), "WEIGHTS");
  EXPECT_EQ(json_of(bench(folder_ / "small", {"--json"}))["weights"], "packed, head in float32");
}

}  // namespace
}  // namespace tender::testing
