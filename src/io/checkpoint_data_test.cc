#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"

namespace tender::io {
namespace {

namespace fs = std::filesystem;

std::vector<float> values_of(const TensorInfo& tensor) {
  std::vector<float> out(tensor.elements());
  to_float32(tensor, out);
  return out;
}

std::string refusal(const fs::path& path) {
  try {
    open_checkpoint(path);
  } catch (const Error& error) {
    return error.code();
  }
  return "accepted";
}

TEST(CheckpointDataTest, KQuantsGiveTheValuesOfTheirReference) {
  TENDER_DATA_OR_SKIP(file, "golden/tiny_hf_models/tiny_kquant.gguf");
  TENDER_DATA_OR_SKIP(expected_file, "golden/tiny_hf_models/tiny_kquant_ref.json");
  const auto model = open_checkpoint(file);
  const Json expected = Json::parse(testing::read_text(expected_file));
  ASSERT_EQ(expected["dequant"].size(), 4U);
  for (const auto& [type, values] : expected["dequant"].items()) {
    const TensorInfo* tensor = model->tensors().find("kq." + type + ".weight");
    ASSERT_NE(tensor, nullptr) << type;
    EXPECT_EQ(values_of(*tensor), values.get<std::vector<float>>()) << type;
  }
  EXPECT_EQ(values_of(*model->tensors().find("ref.f32.weight")),
            expected["ref_f32"].get<std::vector<float>>());
}

/// Copies a model of the golden files into a directory as Hugging Face lays it out.
void lay_out(const fs::path& from, const fs::path& to,
             std::initializer_list<std::pair<std::string, std::string>> files) {
  for (const auto& [source, name] : files) fs::copy_file(from / source, to / name);
}

/// GGUF keeps the rotary pairs of each head interleaved: row h*d + 2i + j is HF row h*d + j*d/2 +
/// i.
std::vector<float> interleaved(const std::vector<float>& rows, std::size_t width,
                               std::size_t heads) {
  std::vector<float> out;
  const std::size_t d = rows.size() / width / heads;
  for (std::size_t row = 0; row < rows.size() / width; ++row) {
    const std::size_t from = row / d * d + row % 2 * (d / 2) + row % d / 2;
    out.insert(out.end(), rows.begin() + static_cast<std::ptrdiff_t>(from * width),
               rows.begin() + static_cast<std::ptrdiff_t>((from + 1) * width));
  }
  return out;
}

TEST(CheckpointDataTest, OneFileShardsAndGgufHoldTheSameLlama) {
  TENDER_DATA_OR_SKIP(folder, "golden/tiny_hf_models");
  const testing::TemporaryFolder single;
  const testing::TemporaryFolder sharded;
  lay_out(
      folder, single.path(),
      {{"tiny_llama_config.json", "config.json"}, {"tiny_llama.safetensors", "model.safetensors"}});
  lay_out(folder, sharded.path(),
          {{"tiny_llama_config.json", "config.json"},
           {"tiny_llama.safetensors.index.json", "model.safetensors.index.json"},
           {"tiny_llama-00001-of-00002.safetensors", "tiny_llama-00001-of-00002.safetensors"},
           {"tiny_llama-00002-of-00002.safetensors", "tiny_llama-00002-of-00002.safetensors"}});
  const auto one = open_checkpoint(single.path());
  const auto shards = open_checkpoint(sharded.path());
  const auto gguf = open_checkpoint(folder / "tiny_llama_f32.gguf");
  EXPECT_EQ(one->files().size(), 2U);
  EXPECT_EQ(shards->files().size(), 4U);
  ASSERT_EQ(one->tensors().tensors().size(), 22U);
  ASSERT_EQ(shards->tensors().tensors().size(), 22U);
  for (const TensorInfo& tensor : one->tensors().tensors()) {
    const TensorInfo* other = shards->tensors().find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(other->shape, tensor.shape);
    EXPECT_EQ(values_of(*other), values_of(tensor)) << tensor.name;
  }
  const auto hf = [&](const std::string& name) { return values_of(*one->tensors().find(name)); };
  const auto gg = [&](const std::string& name) { return values_of(*gguf->tensors().find(name)); };
  EXPECT_EQ(hf("model.embed_tokens.weight"), gg("token_embd.weight"));
  EXPECT_EQ(hf("lm_head.weight"), gg("output.weight"));
  EXPECT_EQ(hf("model.norm.weight"), gg("output_norm.weight"));
  for (const std::string layer : {"0", "1"}) {
    const std::string module = "model.layers." + layer + ".";
    const std::string block = "blk." + layer + ".";
    EXPECT_EQ(interleaved(hf(module + "self_attn.q_proj.weight"), 8, 2),
              gg(block + "attn_q.weight"));
    EXPECT_EQ(interleaved(hf(module + "self_attn.k_proj.weight"), 8, 1),
              gg(block + "attn_k.weight"));
    EXPECT_EQ(hf(module + "self_attn.v_proj.weight"), gg(block + "attn_v.weight"));
    EXPECT_EQ(hf(module + "self_attn.o_proj.weight"), gg(block + "attn_output.weight"));
    EXPECT_EQ(hf(module + "mlp.gate_proj.weight"), gg(block + "ffn_gate.weight"));
    EXPECT_EQ(hf(module + "mlp.up_proj.weight"), gg(block + "ffn_up.weight"));
    EXPECT_EQ(hf(module + "mlp.down_proj.weight"), gg(block + "ffn_down.weight"));
  }
}

TEST(CheckpointDataTest, FilesOfOtherWritersAreJudgedByTheFormat) {
  TENDER_DATA_OR_SKIP(folder, "golden/containers");
  const auto file = open_checkpoint(folder / "syoyo_model.safetensors");
  EXPECT_EQ(file->tensors().find("weight1")->shape, (Shape{8, 8}));
  EXPECT_EQ(file->tensors().find("weight2")->type, DType::f64);
  // A header without its data, and five bytes behind the only tensor; the reference refuses both.
  EXPECT_EQ(refusal(folder / "las7_tiny.gguf"), "GG_TRUNCATED");
  EXPECT_EQ(refusal(folder / "las7_tiny.safetensors"), "ST_TRAILING_BYTES");
}

TEST(CheckpointDataTest, VocabularyOnlyFilesOpen) {
  for (const std::string name : {"gpt-2", "llama-spm"}) {
    TENDER_DATA_OR_SKIP(file, "tokenizers/ggml_vocab/ggml-vocab-" + name + ".gguf");
    const auto vocabulary = open_checkpoint(file, Need::tokenizer);
    EXPECT_TRUE(vocabulary->tensors().tensors().empty());
    EXPECT_GT(vocabulary->gguf()->find_strings("tokenizer.ggml.tokens")->size(), 30'000U);
  }
}

}  // namespace
}  // namespace tender::io
