// GGUF files whose blocks are multiplied as they are stored.

#include <bit>
#include <cmath>
#include <optional>

#include "base/half.h"
#include "base/rng.h"
#include "io/test_files.h"
#include "model/test_support.h"
#include "quant/formats/blocks.h"

namespace tender::model {
namespace {

constexpr std::size_t kWidth = 256, kVocabulary = 96;
const std::vector<TokenId> kIds = {3, 1, 4, 1, 5, 9, 2, 6, 53, 58};

/// Random matrices in the types that a test asks for, in a file of the Llama family.
struct BlockLlama {
  std::map<std::string, DType> types;  ///< by what follows "blk.N."; the others are Q4_0
  bool tied = true;
  testing::TemporaryFolder folder{};

  std::filesystem::path write() const {
    io::testing::GgufFile file;
    file.string("general.architecture", "llama");
    for (const auto& [key, value] :
         std::map<std::string, std::uint32_t>{{"llama.embedding_length", kWidth},
                                              {"llama.block_count", 2},
                                              {"llama.feed_forward_length", 512},
                                              {"llama.attention.head_count", 4},
                                              {"llama.attention.head_count_kv", 2},
                                              {"llama.context_length", 64}})
      file.u32(key, value);
    file.key("llama.attention.layer_norm_rms_epsilon", io::testing::kF32, io::testing::raw(1e-5F));
    matrix(file, "token_embd.weight", kVocabulary, kWidth);
    if (!tied) matrix(file, "output.weight", kVocabulary, kWidth);
    ones(file, "output_norm.weight");
    for (const std::string layer : {"blk.0.", "blk.1."}) {
      for (const char* norm : {"attn_norm.weight", "ffn_norm.weight"}) ones(file, layer + norm);
      matrix(file, layer + "attn_q.weight", kWidth, kWidth);
      matrix(file, layer + "attn_k.weight", kWidth / 2, kWidth);
      matrix(file, layer + "attn_v.weight", kWidth / 2, kWidth);
      matrix(file, layer + "attn_output.weight", kWidth, kWidth);
      matrix(file, layer + "ffn_gate.weight", 512, kWidth);
      matrix(file, layer + "ffn_up.weight", 512, kWidth);
      matrix(file, layer + "ffn_down.weight", kWidth, 512);
    }
    testing::write_text(folder / "model.gguf", file.bytes());
    return folder / "model.gguf";
  }

 private:
  static void ones(io::testing::GgufFile& file, const std::string& name) {
    file.floats(name, {kWidth}, std::vector<float>(kWidth, 1.0F));
  }

  void matrix(io::testing::GgufFile& file, const std::string& name, std::size_t rows,
              std::size_t in) const {
    const auto named = types.find(name.starts_with("blk.") ? name.substr(6) : name);
    const DTypeTraits& type = traits(named == types.end() ? DType::q4_0 : named->second);
    Rng rng(61, name);
    std::string bytes;
    for (std::size_t n = 0; n < rows; ++n) bytes += row(type, in, rng);
    file.stored(name, {in, rows}, *type.gguf_id, bytes);
  }

  /// Weights near 1 / sqrt(in), or random superblocks with scales of that size.
  static std::string row(const DTypeTraits& type, std::size_t in, Rng& rng) {
    const float spread = 1 / std::sqrt(static_cast<float>(in));
    std::string bytes(in / type.block * (type.bits / 8), '\0');
    std::vector<float> w(in);
    for (float& value : w) value = spread * rng.normal();
    if (type.type == DType::f16) {
      for (std::size_t k = 0; k < in; ++k) {
        const std::uint16_t half = float_to_half(w[k]);
        std::memcpy(bytes.data() + 2 * k, &half, 2);
      }
      return bytes;
    }
    const quant::BlockType& block = *quant::find_block_type(type.type);
    if (!quant::is_written(block)) {
      for (char& byte : bytes) byte = static_cast<char>(rng.below(256));
      // codes of 5 bits have no other scale beside d (and m)
      const bool super = block.width != 32, last = type.type == DType::q6_k;
      const std::uint16_t d = float_to_half(spread / (super ? 500 : 10));
      const std::uint16_t m = float_to_half(super ? spread / 500 : -spread);
      for (std::size_t at = 0; at < bytes.size(); at += block.bytes) {
        std::memcpy(bytes.data() + at + (last ? 208 : 0), &d, 2);
        if (!last && type.type != DType::q5_0) std::memcpy(bytes.data() + at + 2, &m, 2);
      }
      return bytes;
    }
    quant::write_block_row(block, quant::round_to_blocks(block, w),
                           std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }
};

BlockLlama mixed() {
  return {.types = {{"attn_q.weight", DType::q4_1},
                    {"attn_k.weight", DType::q8_0},
                    {"attn_v.weight", DType::q4_k},
                    {"attn_output.weight", DType::q6_k},
                    {"ffn_gate.weight", DType::q5_k},
                    {"ffn_up.weight", DType::q5_1},
                    {"ffn_down.weight", DType::f16},
                    {"token_embd.weight", DType::q8_0}}};
}

std::unique_ptr<Model> load_as(const std::filesystem::path& path, const RunOptions& options,
                               Isa isa = host_isa()) {
  ThreadPool pool(1);
  Progress silent;
  return load_model(*io::open_checkpoint(path), isa, pool, silent, options);
}

constexpr RunOptions kPacked = {.weights = BlockWeights::packed};
constexpr RunOptions kFloats = {.weights = BlockWeights::dequantized};

double norm(const Matrix& m) {
  double sum = 0;
  for (const float value : m.span()) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

// Rotary rows of q and k among them, which the file has in another order.
TEST(PackedGguf, SitesHoldTheVeryWeightsThatTheReaderReads) {
  const BlockLlama model = mixed();
  const auto checkpoint = io::open_checkpoint(model.write());
  const ModelSpec spec = read_spec(*checkpoint);
  const WeightReader packed(*checkpoint, spec, BlockWeights::packed);
  std::size_t compared = 0;
  for (const SiteSpec& site : spec.sites) {
    if (!packed.is_quantized(site)) continue;
    const auto loaded = packed.packed(site);
    for (std::size_t l = 0; l < site.linears.size(); ++l, ++compared) {
      Matrix w(site.shape.outs[l], site.shape.in);
      loaded->dequantize(l, w.view());
      EXPECT_TRUE(same_bits(w, packed.matrix(site.linears[l] + ".weight"))) << site.linears[l];
    }
  }
  EXPECT_EQ(compared, 12U) << "all but down_proj";
}

TEST(PackedGguf, ASiteWithAnotherTypeRunsInFloatAndSaysWhy) {
  const BlockLlama model = mixed();
  const auto path = model.write();
  const auto loaded = load_as(path, kPacked);
  const auto checkpoint = io::open_checkpoint(path);
  const auto sites = block_sites(*checkpoint, read_spec(*checkpoint));
  ASSERT_EQ(sites.size(), loaded->sites().size() + 1);
  for (std::size_t s = 0; s < loaded->sites().size(); ++s) {
    const bool down = site_kind(loaded->sites()[s].name) == "mlp.down_proj";
    EXPECT_EQ(loaded->site(s).method(), down ? "float" : "gguf");
    EXPECT_EQ(sites[s].why, down ? "F16 is not multiplied as stored" : "");
    EXPECT_EQ(loaded->site(s).kernel().find("F16 is not multiplied as stored") != std::string::npos,
              down);
  }
  EXPECT_EQ(sites.back().name, "lm_head");
  EXPECT_EQ(sites.back().why, "");
}

TEST(PackedGguf, LogitsAreThoseOfTheFloatsWithinTheRoundingOfRows) {
  for (const bool tied : {true, false}) {
    BlockLlama model = mixed();
    model.tied = tied;
    const auto path = model.write();
    const Matrix floats = run_model(*load_as(path, kFloats), kIds);
    const Matrix packed = run_model(*load_as(path, kPacked), kIds);
    EXPECT_TRUE(same_bits(floats, run_model(*load(path), kIds))) << "floats are the default";
    Matrix difference(packed.rows(), packed.cols());
    for (std::size_t i = 0; i < packed.span().size(); ++i)
      difference.span()[i] = packed.span()[i] - floats.span()[i];
    // A row's rounding is uniform within half a step of max / 127: some 0.6 % of a value of a
    // normal block of 32, and seven matrices in a row are passed.
    EXPECT_GT(norm(difference), 0);
    EXPECT_LT(norm(difference), 0.04 * norm(floats));
  }
}

TEST(PackedGguf, LogitsHaveTheSameBitsForAnyThreadsPiecesAndInstructionSet) {
  const BlockLlama model = mixed();
  const auto path = model.write();
  for (const std::optional<int> kv_bits : {std::optional<int>(), std::optional(8)}) {
    RunOptions options = kPacked;
    options.kv_bits = kv_bits;
    const Matrix expected = run_model(*load_as(path, options, Isa::scalar), kIds);
    const auto loaded = load_as(path, options);
    EXPECT_EQ(loaded->attention_bits().has_value(), kv_bits.has_value());
    for (const std::size_t threads : {1U, 2U, 3U}) {
      EXPECT_TRUE(same_bits(expected, run_model(*loaded, kIds, threads)));
      EXPECT_TRUE(same_bits(expected, run_model(*loaded, kIds, threads, {7, 1, 1, 1})));
    }
  }
}

TEST(PackedGguf, LayerByLayerItIsTheSameModel) {
  const BlockLlama model = mixed();
  const auto checkpoint = io::open_checkpoint(model.write());
  const ModelSpec spec = read_spec(*checkpoint);
  const WeightReader weights(*checkpoint, spec, BlockWeights::packed);
  ThreadPool pool(2);
  Progress silent;
  const auto layers = load_layerwise(*checkpoint, spec, weights, host_isa(), silent, kPacked);
  Matrix rows(kIds.size(), kWidth), logits(kIds.size(), kVocabulary);
  layers->embed(kIds, rows.view(), pool);
  for (std::size_t n = 0; n < spec.info.layers; ++n) {
    layers->enter(n);
    layers->run(rows.view(), pool);
  }
  layers->finish(rows.view(), pool);
  layers->logits(rows.view(), logits.view(), pool);
  EXPECT_TRUE(same_bits(logits, run_model(*load_as(checkpoint->path(), kPacked), kIds)));
}

TEST(PackedGguf, ATiedEmbeddingIsReadOutOfTheHeadToTheSameBits) {
  for (const DType type : {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                           DType::q4_k, DType::q5_k, DType::q6_k, DType::f16})
    for (const bool tied : {true, false}) {
      BlockLlama model = mixed();
      model.types["token_embd.weight"] = type;
      model.tied = tied;
      const auto checkpoint = io::open_checkpoint(model.write());
      const ModelSpec spec = read_spec(*checkpoint);
      ThreadPool pool(1);
      Progress silent;
      Matrix found(kIds.size(), kWidth), expected(kIds.size(), kWidth);
      std::size_t resident = 0;
      for (const BlockWeights form : {BlockWeights::dequantized, BlockWeights::packed}) {
        const WeightReader weights(*checkpoint, spec, form);
        const auto layers =
            load_layerwise(*checkpoint, spec, weights, host_isa(), silent, {.weights = form});
        Matrix& rows = form == BlockWeights::packed ? found : expected;
        layers->embed(kIds, rows.view(), pool);
        resident = layers->resident_bytes();
        if (form == BlockWeights::packed && tied) {
          EXPECT_EQ(layers->head() != nullptr, type != DType::f16);
        }
      }
      EXPECT_TRUE(same_bits(found, expected)) << to_string(type);
      // norms, and one byte and a sixteenth per weight of the head
      if (tied && type == DType::q8_0) {
        EXPECT_LT(resident, kVocabulary * kWidth * 17 / 16 + 8 * kWidth * sizeof(float));
      }
    }
}

TEST(PackedGguf, WhatAModelCannotDoIsRefused) {
  EXPECT_EQ(error_of([] { load_as(golden_path("llama_gqa"), kPacked); }).code(), "WEIGHTS");
  BlockLlama model;
  for (const char* name :
       {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    model.types[std::string(name) + ".weight"] = DType::f16;
  model.types["token_embd.weight"] = DType::f16;
  const Error error = error_of([&] { load_as(model.write(), kPacked); });
  EXPECT_EQ(error.code(), "WEIGHTS");
  EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace tender::model
