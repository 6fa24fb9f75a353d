// Attention and the KV cache in integers, in whole models. Numbers in the names are those of the
// checks of tender.md section 9.

#include <algorithm>
#include <cmath>

#include "model/kv_statics.h"
#include "model/test_support.h"

namespace tender::model {
namespace {

std::unique_ptr<Model> load_with(const std::filesystem::path& path, int kv_bits,
                                 Isa isa = host_isa()) {
  ThreadPool pool(1);
  Progress silent;
  return load_model(*io::open_checkpoint(path), isa, pool, silent, {.kv_bits = kv_bits});
}

std::vector<TokenId> golden_ids(const std::string& name, std::size_t n = 0) {
  return read_json(golden_path(name + ".json"))["sequences"][n].get<std::vector<TokenId>>();
}

/// Root mean square distance, relative to the first.
double relative_distance(const Matrix& a, const Matrix& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.span().size(); ++i) {
    difference += std::pow(static_cast<double>(a.span()[i] - b.span()[i]), 2);
    size += std::pow(static_cast<double>(a.span()[i]), 2);
  }
  return std::sqrt(difference / size);
}

class IntegerAttentionTest : public ::testing::TestWithParam<const char*> {};

TEST_P(IntegerAttentionTest, IsNearFloatAtEightBitsAndFartherAtFour) {
  const auto ids = golden_ids(GetParam());
  const Matrix truth = run_model(*load(golden_path(GetParam())), ids);
  const double eight =
      relative_distance(truth, run_model(*load_with(golden_path(GetParam()), 8), ids));
  const double four =
      relative_distance(truth, run_model(*load_with(golden_path(GetParam()), 4), ids));
  EXPECT_GT(eight, 0.0);
  EXPECT_LT(eight, 0.02);
  EXPECT_LT(four, 0.3);
  EXPECT_GT(four, eight);
}

TEST_P(IntegerAttentionTest, TenderCheck20PiecesThreadsAndInstructionSetsGiveTheSameBits) {
  const auto ids = golden_ids(GetParam());
  for (const int bits : {8, 4}) {
    const auto model = load_with(golden_path(GetParam()), bits);
    const Matrix whole = run_model(*model, ids);
    EXPECT_TRUE(
        same_bits(whole, run_model(*model, ids, 1, std::vector<std::size_t>(ids.size(), 1))));
    EXPECT_TRUE(same_bits(whole, run_model(*model, ids, 3, {5, 1, ids.size() - 6})));
    for (const char* name : {"scalar", "avx2", "avx512"}) {
      const auto isa = static_cast<Isa>(static_cast<std::uint32_t>(allowed_isa(name)) &
                                        static_cast<std::uint32_t>(detected_isa()));
      EXPECT_TRUE(same_bits(whole, run_model(*load_with(golden_path(GetParam()), bits, isa), ids)))
          << name;
    }
  }
}

TEST_P(IntegerAttentionTest, ABatchIsTheSameAsEachAloneAndATruncatedSequenceForgets) {
  ThreadPool pool(2);
  const auto model = load_with(golden_path(GetParam()), 4);
  const auto first = golden_ids(GetParam(), 0), second = golden_ids(GetParam(), 1);
  const auto a = model->sequence(40), b = model->sequence(40);
  const BatchItem spoilt{a.get(), second, 0};
  Matrix hidden;
  model->forward({&spoilt, 1}, hidden, pool);
  a->truncate(0);
  const BatchItem batch[] = {{a.get(), first, 0}, {b.get(), second, 0}};
  model->forward(batch, hidden, pool);
  Matrix logits(hidden.rows(), model->info().vocabulary);
  model->logits(hidden.view(), logits.view(), pool);
  const Matrix alone = run_model(*model, first);
  for (std::size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(std::ranges::equal(alone.row(i), logits.row(i))) << "token " << i;
}

TEST_P(IntegerAttentionTest, TenderCheck20SequencesTakeTheBytesOfTheFormula) {
  const auto path = golden_path(GetParam());
  const auto in_float = load(path);
  EXPECT_FALSE(in_float->attention_bits());
  for (const int bits : {8, 4}) {
    const auto model = load_with(path, bits);
    EXPECT_EQ(model->attention_bits(), (AttentionBits{8, bits}));
    const std::size_t each = cache_bytes_per_token(model->info(), model->attention_bits());
    EXPECT_EQ(model->sequence(40)->bytes(), 64 * each) << "positions are kept in blocks of 64";
    EXPECT_LT(each, cache_bytes_per_token(model->info(), std::nullopt));
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, IntegerAttentionTest, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& each) { return std::string(each.param); });

TEST(RunOptions, RefuseOtherBits) {
  EXPECT_EQ(error_of([] { load_with(golden_path("llama_gqa"), 6); }).code(), "KV_BITS");
}

/// A model whose attention alone is quantized, with statics or without.
ModelFolder stored(bool statics) {
  ModelFolder folder("llama_gqa");
  const auto checkpoint = io::open_checkpoint(golden_path("llama_gqa"));
  const ModelSpec spec = read_spec(*checkpoint);
  Json ignored = Json::array({"lm_head"});
  for (const SiteSpec& site : spec.sites) ignored.push_back(site.name);
  folder.config["quantization_config"] = {{"quant_method", "rtn"},
                                          {"format_version", 1},
                                          {"options", Json::object()},
                                          {"attention", {{"bits", 8}, {"kv_bits", 4}}},
                                          {"ignore", ignored}};
  if (!statics) return folder;
  const Shape shape{spec.info.kv_heads, spec.info.head_width};
  const std::size_t count = spec.info.kv_heads * spec.info.head_width;
  for (std::size_t n = 0; n < spec.info.layers; ++n) {
    folder.put(kv_owner(spec, n) + ".key_bias", shape, std::vector<float>(count, 0.5F));
    folder.tensors[kv_owner(spec, n) + ".key_groups"] = {"U8", shape, std::string(count, '\1')};
    folder.tensors[kv_owner(spec, n) + ".value_groups"] = {"U8", shape, std::string(count, '\0')};
  }
  return folder;
}

TEST(StoredAttention, RunsAsItSaysUnlessOtherBitsAreAskedFor) {
  const auto ids = golden_ids("llama_gqa");
  const ModelFolder plain = stored(false);
  const auto model = load(plain.write());
  EXPECT_EQ(model->attention_bits(), (AttentionBits{8, 4}));
  EXPECT_TRUE(
      same_bits(run_model(*model, ids), run_model(*load_with(golden_path("llama_gqa"), 4), ids)));
  EXPECT_TRUE(same_bits(run_model(*load_with(plain.write(), 8), ids),
                        run_model(*load_with(golden_path("llama_gqa"), 8), ids)));
  const Matrix biased = run_model(*load(stored(true).write()), ids);
  EXPECT_FALSE(same_bits(biased, run_model(*model, ids)));
  EXPECT_LT(relative_distance(run_model(*load(golden_path("llama_gqa")), ids), biased), 0.3);
}

TEST(StoredAttention, AnotherModelReadsWhatWasSaved) {
  const auto checkpoint = io::open_checkpoint(golden_path("llama_gqa"));
  const ModelSpec spec = read_spec(*checkpoint);
  EXPECT_EQ(kv_owner(spec, 1), "model.layers.1.self_attn.kv");
  EXPECT_EQ(kv_owner(read_spec(*io::open_checkpoint(golden_path("opt_pre"))), 0),
            "model.decoder.layers.0.self_attn.kv");
}

TEST(StoredAttention, DamageIsRefused) {
  const auto code_of = [](const auto& damage) {
    ModelFolder folder = stored(true);
    damage(folder);
    return error_of([&] { load(folder.write()); }).code();
  };
  const std::string owner = "model.layers.0.self_attn.kv.";
  const auto attention = [](Json value) {
    return [value](ModelFolder& f) { f.config["quantization_config"]["attention"] = value; };
  };
  EXPECT_EQ(code_of(attention(8)), "QC_KEY");
  EXPECT_EQ(code_of(attention({{"bits", 8}})), "QC_KEY");
  EXPECT_EQ(code_of(attention({{"bits", 8}, {"kv_bits", 5}})), "QC_KEY");
  EXPECT_EQ(code_of(attention({{"bits", "8"}, {"kv_bits", 8}})), "QC_KEY");
  EXPECT_EQ(code_of([&](ModelFolder& f) { f.tensors.erase(owner + "key_bias"); }),
            "CK_PART_MISSING");
  EXPECT_EQ(code_of([&](ModelFolder& f) { f.tensors[owner + "key_groups"].bytes[3] = 16; }),
            "QC_RANGE");
  EXPECT_EQ(code_of([&](ModelFolder& f) {
              auto& tensor = f.tensors[owner + "value_groups"];
              std::swap(tensor.shape[0], tensor.shape[1]);
            }),
            "CK_PART_SHAPE");
  EXPECT_EQ(code_of([&](ModelFolder& f) {
              auto& bytes = f.tensors[owner + "key_bias"].bytes;
              const float nan = NAN;
              std::memcpy(bytes.data(), &nan, sizeof nan);
            }),
            "QC_RANGE");
  EXPECT_EQ(
      code_of([&](ModelFolder& f) { f.tensors[owner + "more"] = f.tensors[owner + "key_bias"]; }),
      "HF_TENSOR_EXTRA");
  EXPECT_EQ(code_of([&](ModelFolder& f) { f.config["quantization_config"].erase("attention"); }),
            "HF_TENSOR_EXTRA");
}

}  // namespace
}  // namespace tender::model
