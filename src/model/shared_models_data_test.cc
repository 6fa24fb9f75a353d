// Models of the shared data: tiny ones with logits that other programs computed, and stories260K, a
// trained one.

#include <algorithm>
#include <fstream>

#include "base/rng.h"
#include "model/test_support.h"

namespace tender::model {
namespace {

namespace fs = std::filesystem;

/// How far float32 may take the logits of a model: the largest change when every weight is off by
/// the relative error of the sum that it enters, gamma_n = n 2^-24 (Higham 2002, section 3.1), at
/// random signs; norms count as sums as wide. Several draws; see oracle/make_model_golden.py, which
/// does it in float64.
double float32_bound(const ModelFolder& model, const std::vector<std::vector<TokenId>>& sequences) {
  const fs::path path = model.write();
  std::vector<Matrix> exact;
  for (const auto& ids : sequences) exact.push_back(run_model(*load(path), ids));
  double bound = 0;
  for (std::uint64_t draw = 0; draw < 8; ++draw) {
    Rng rng(draw, "float32_bound");
    ModelFolder changed;
    changed.config = model.config;
    changed.tensors = model.tensors;
    for (auto& [name, tensor] : changed.tensors) {
      const auto terms = static_cast<float>(tensor.shape.back() + 1);
      std::vector<float> values(tensor.bytes.size() / sizeof(float));
      std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      for (float& value : values)
        value *= 1 + (rng.below(2) == 0 ? 1.0F : -1.0F) * terms * 0x1p-24F;
      changed.put(name, tensor.shape, values);
    }
    if (changed.config.value("tie_word_embeddings", false)) changed.tensors.erase("lm_head.weight");
    const auto loaded = load(changed.write());
    for (std::size_t n = 0; n < sequences.size(); ++n) {
      const Matrix logits = run_model(*loaded, sequences[n]);
      for (std::size_t i = 0; i < logits.span().size(); ++i)
        bound = std::max<double>(bound, std::abs(logits.span()[i] - exact[n].span()[i]));
    }
  }
  return bound;
}

ModelFolder folder_of(const fs::path& weights, const fs::path& config) {
  testing::TemporaryFolder copy;
  fs::copy_file(weights, copy / "model.safetensors");
  fs::copy_file(config, copy / "config.json");
  ModelFolder model;
  model.config = read_json(config);
  const auto checkpoint = io::open_checkpoint(copy.path());
  for (const TensorInfo& tensor : checkpoint->tensors().tensors())
    model.tensors[tensor.name] = {
        std::string(to_string(tensor.type)),
        tensor.shape,
        {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()}};
  return model;
}

/// Both sides computed in float32, so they may be two bounds apart.
void expect_agreement(const Model& model, const Json& reference, double bound) {
  for (std::size_t n = 0; n < reference["sequences"].size(); ++n) {
    const auto ids = reference["sequences"][n].get<std::vector<TokenId>>();
    EXPECT_LE(distance(run_model(model, ids), reference["logits"][n]), 2 * bound)
        << "sequence " << n;
  }
}

TEST(SharedModels, TinyLlamaAgreesInEveryContainer) {
  TENDER_DATA_OR_SKIP(data, "golden/tiny_hf_models");
  const Json reference = read_json(data / "tiny_llama_logits.json");
  const ModelFolder model =
      folder_of(data / "tiny_llama.safetensors", data / "tiny_llama_config.json");
  const double bound =
      float32_bound(model, reference["sequences"].get<std::vector<std::vector<TokenId>>>());
  expect_agreement(*load(model.write()), reference, bound);

  testing::TemporaryFolder sharded;
  fs::copy_file(data / "tiny_llama_config.json", sharded / "config.json");
  fs::copy_file(data / "tiny_llama.safetensors.index.json",
                sharded / "model.safetensors.index.json");
  for (const char* name :
       {"tiny_llama-00001-of-00002.safetensors", "tiny_llama-00002-of-00002.safetensors"})
    fs::copy_file(data / name, sharded / name);
  expect_agreement(*load(sharded.path()), reference, bound);

  expect_agreement(*load(data / "tiny_llama_f32.gguf"), reference, bound);
}

TEST(SharedModels, TinyOptAgrees) {
  TENDER_DATA_OR_SKIP(data, "golden/tiny_hf_models");
  const Json reference = read_json(data / "tiny_opt_logits.json");
  const ModelFolder model = folder_of(data / "tiny_opt.safetensors", data / "tiny_opt_config.json");
  const double bound =
      float32_bound(model, reference["sequences"].get<std::vector<std::vector<TokenId>>>());
  expect_agreement(*load(model.write()), reference, bound);
}

/// Reads llama2.c's legacy format; oracle/stories260k_to_hf.py draws it.
class StoriesFile {
 public:
  explicit StoriesFile(const fs::path& path) : bytes_(testing::read_text(path)) {
    for (std::int32_t& value : header_) value = read<std::int32_t>();
  }
  std::size_t operator[](std::size_t i) const { return static_cast<std::size_t>(header_[i]); }
  std::vector<float> take(std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = read<float>();
    return values;
  }

 private:
  template <class T>
  T read() {
    T value{};
    std::memcpy(&value, bytes_.data() + place_, sizeof(T));
    place_ += sizeof(T);
    return value;
  }
  std::string bytes_;
  std::size_t place_ = 0;
  std::int32_t header_[7] = {};
};

/// Rows 2i and 2i + 1 of each head become rows i and i + d/2.
std::vector<float> split_halves(const std::vector<float>& rows, std::size_t width,
                                std::size_t head_width) {
  std::vector<float> ordered(rows.size());
  for (std::size_t row = 0; row < rows.size() / width; ++row) {
    const std::size_t within = row % head_width;
    const std::size_t target = row - within + within % 2 * (head_width / 2) + within / 2;
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(row * width), width,
                ordered.begin() + static_cast<std::ptrdiff_t>(target * width));
  }
  return ordered;
}

ModelFolder stories(const fs::path& path) {
  StoriesFile file(path);
  const std::size_t width = file[0];
  const std::size_t middle = file[1];
  const std::size_t layers = file[2];
  const std::size_t head_width = width / file[3];
  const std::size_t keys = head_width * file[4];
  ModelFolder model;
  model.config = {{"architectures", {"LlamaForCausalLM"}},
                  {"model_type", "llama"},
                  {"hidden_size", width},
                  {"intermediate_size", middle},
                  {"num_hidden_layers", layers},
                  {"num_attention_heads", file[3]},
                  {"num_key_value_heads", file[4]},
                  {"vocab_size", file[5]},
                  {"max_position_embeddings", file[6]},
                  {"rms_norm_eps", 1e-5},
                  {"tie_word_embeddings", true}};
  model.put("model.embed_tokens.weight", {file[5], width}, file.take(file[5] * width));
  const auto put_layers = [&](const std::string& name, std::size_t out, std::size_t in,
                              bool rotary) {
    for (std::size_t n = 0; n < layers; ++n) {
      std::vector<float> values = file.take(out * std::max<std::size_t>(in, 1));
      if (rotary) values = split_halves(values, in, head_width);
      model.put("model.layers." + std::to_string(n) + "." + name + ".weight",
                in == 0 ? Shape{out} : Shape{out, in}, values);
    }
  };
  put_layers("input_layernorm", width, 0, false);
  put_layers("self_attn.q_proj", width, width, true);
  put_layers("self_attn.k_proj", keys, width, true);
  put_layers("self_attn.v_proj", keys, width, false);
  put_layers("self_attn.o_proj", width, width, false);
  put_layers("post_attention_layernorm", width, 0, false);
  put_layers("mlp.gate_proj", middle, width, false);
  put_layers("mlp.down_proj", width, middle, false);
  put_layers("mlp.up_proj", middle, width, false);
  model.put("model.norm.weight", {width}, file.take(width));
  return model;
}

/// Pieces of llama2.c's tokenizer file: int32 longest piece, then for each float score, int32
/// length, bytes.
std::vector<std::string> pieces(const fs::path& path) {
  const std::string bytes = testing::read_text(path);
  std::vector<std::string> pieces;
  for (std::size_t place = 4; place < bytes.size();) {
    std::int32_t length = 0;
    std::memcpy(&length, bytes.data() + place + 4, 4);
    pieces.push_back(bytes.substr(place + 8, static_cast<std::size_t>(length)));
    place += 8 + static_cast<std::size_t>(length);
  }
  return pieces;
}

TEST(SharedModels, StoriesTellsTheGreedyStoryOfLlama2C) {
  TENDER_DATA_OR_SKIP(data, "models/stories260K");
  const auto model = load(stories(data / "stories260K.bin").write());
  const std::vector<std::string> vocabulary = pieces(data / "tok512.bin");
  constexpr TokenId kBos = 1;
  ThreadPool pool(1);
  const auto sequence = model->sequence(200);
  Matrix hidden;
  Matrix logits(1, model->info().vocabulary);
  std::string text;
  TokenId token = kBos;
  for (int step = 0; step < 200; ++step) {
    const BatchItem item{sequence.get(), std::span<const TokenId>(&token, 1), 0};
    model->forward({&item, 1}, hidden, pool);
    model->logits(hidden.view(), logits.view(), pool);
    const TokenId next =
        static_cast<TokenId>(std::ranges::max_element(logits.row(0)) - logits.row(0).begin());
    ASSERT_NE(next, kBos) << "the story ends before its 200 steps";
    std::string piece = vocabulary.at(static_cast<std::size_t>(next));
    if (piece.size() == 6 && piece.starts_with("<0x"))
      piece = static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
    text += token == kBos && piece.starts_with(' ') ? piece.substr(1) : piece;
    token = next;
  }
  EXPECT_EQ(text, testing::read_text(data / "expected_greedy_200.txt"));
}

}  // namespace
}  // namespace tender::model
