#include "compress/signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/hash.h"
#include "base/rng.h"
#include "compress/float_tensors.h"
#include "compress/memory_checkpoint.h"
#include "compress/site_pipeline.h"
#include "compress/stored_parts.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

constexpr std::uint64_t kSeed = 20240629;
constexpr std::size_t kVocabulary = 160;
constexpr std::size_t kPrompt = 8;
constexpr std::size_t kGenerated = 64;

std::string tiny_config() {
  return Json{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", 48},
              {"intermediate_size", 88},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"max_position_embeddings", 128},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", 10000.0},
              {"tie_word_embeddings", true},
              {"vocab_size", kVocabulary}}
      .dump();
}

/// Matrices of independent numbers, gains near one of which a few are loud, as in real models.
std::vector<float> tiny_values(const model::TensorSpec& tensor) {
  Rng rng(kSeed, tensor.name);
  const bool vector = tensor.shape.size() == 1;
  const float spread = vector ? 0.1F : 1.0F / std::sqrt(static_cast<float>(tensor.shape.back()));
  std::vector<float> values(*element_count(tensor.shape));
  for (float& value : values) value = (vector ? 1.0F : 0.0F) + spread * rng.normal();
  for (int loud = 0; vector && loud < 3; ++loud) values[rng.below(values.size())] *= 12.0F;
  return values;
}

std::vector<io::TensorToWrite> tiny_tensors(const model::ModelSpec& spec) {
  std::vector<io::TensorToWrite> tensors;
  for (const model::TensorSpec& tensor : spec.tensors)
    if (!tensor.optional)
      tensors.push_back({tensor.name, DType::f32, tensor.shape, [&tensor](const auto& put) {
                           const std::vector<float> values = tiny_values(tensor);
                           put(std::as_bytes(std::span(values)));
                         }});
  return tensors;
}

CalibrationText tiny_text() {
  Rng rng(kSeed, "signature text");
  CalibrationText text;
  text.asked = {.samples = 4, .seqlen = 64, .seed = kSeed};
  text.windows.resize(text.asked.samples);
  for (auto& window : text.windows)
    for (std::size_t i = 0; i < text.asked.seqlen; ++i)
      window.push_back(static_cast<text::TokenId>(rng.below(kVocabulary)));
  return text;
}

/// The tiny model, and what each method makes of it.
class Signer {
 public:
  explicit Signer(Isa isa)
      : isa_(isa),
        spec_(model::read_spec(MemoryCheckpoint(tiny_config(), {}))),
        source_(spec_.config_json, tiny_tensors(spec_)),
        weights_(source_, spec_) {}

  Signature sign(const quant::MethodEntry& method) {
    const Json options = method.resolve(Json::object());
    Keeper keeper(spec_);
    SitePipeline(source_, spec_, weights_, method, options.dump(), isa_, pool_, silent_)
        .run(&text_, nullptr, keeper);
    const StoredParts& parts = keeper.parts;
    std::vector<io::TensorToWrite> tensors;
    parts.list(tensors);
    std::string all;
    for (const io::TensorToWrite& tensor : tensors) {
      all +=
          fmt::format("{} {} {}\n", tensor.name, to_string(tensor.type), to_string(tensor.shape));
      tensor.write([&](std::span<const std::byte> bytes) { all += xxh3_hex(bytes) + "\n"; });
    }
    for (const std::string& name :
         remaining_float(spec_, weights_, quantized_weights(spec_, false)))
      tensors.push_back(float_tensor(weights_, name, DType::f32));
    for (const text::TokenId token : generate(quantized(method, options, tensors)))
      all += fmt::format("{} ", token);
    return {std::string(method.name), options.dump(), sha256_hex(all).substr(0, 16)};
  }

 private:
  struct Keeper : SiteKeeper {
    explicit Keeper(const model::ModelSpec& s) : spec(s) {}
    void keep(const QuantizedSite& site) override {
      save_site(site.packed, spec.sites[site.index], parts);
    }
    const model::ModelSpec& spec;
    StoredParts parts;
  };

  std::unique_ptr<model::Model> quantized(const quant::MethodEntry& method, const Json& options,
                                          const std::vector<io::TensorToWrite>& tensors) {
    Json config = Json::parse(spec_.config_json);
    config["quantization_config"] = {{"quant_method", method.name},
                                     {"format_version", 1},
                                     {"options", options},
                                     {"layers", Json::object()},
                                     {"ignore", {"lm_head"}}};
    return model::load_model(MemoryCheckpoint(config.dump(), tensors), isa_, pool_, silent_);
  }

  std::vector<text::TokenId> generate(const std::unique_ptr<model::Model>& model) {
    std::vector<text::TokenId> tokens;
    for (std::size_t i = 0; i < kPrompt; ++i)
      tokens.push_back(static_cast<text::TokenId>(17 * i + 3));
    const auto sequence = model->sequence(kPrompt + kGenerated);
    Matrix hidden;
    Matrix logits(1, kVocabulary);
    for (std::size_t fed = 0; tokens.size() < kPrompt + kGenerated;) {
      const auto fresh = std::span(tokens).subspan(fed);
      const model::BatchItem item{sequence.get(), fresh, fresh.size() - 1};
      fed = tokens.size();
      model->forward({&item, 1}, hidden, pool_);
      model->logits(hidden.view(), logits.view(), pool_);
      tokens.push_back(static_cast<text::TokenId>(std::ranges::max_element(logits.row(0)) -
                                                  logits.row(0).begin()));
    }
    return tokens;
  }

  Isa isa_;
  ThreadPool pool_{1};
  Progress silent_;
  model::ModelSpec spec_;
  MemoryCheckpoint source_;
  model::WeightReader weights_;
  CalibrationText text_ = tiny_text();
};

}  // namespace

std::vector<Signature> signatures(Isa isa) {
  Signer signer(isa);
  std::vector<Signature> all;
  for (const quant::MethodEntry& method : quant::all_methods()) all.push_back(signer.sign(method));
  return all;
}

}  // namespace tender::compress
