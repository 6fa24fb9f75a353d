#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "kernels/rope/rope.h"
#include "model/archs/llama/config.h"
#include "model/gguf_config.h"
#include "model/hf_config.h"

namespace tender::model {
namespace {

constexpr auto kMaxHeads = static_cast<std::int64_t>(Caps::heads);
constexpr auto kMaxWidth = static_cast<std::int64_t>(Caps::width);

/// What rope_freqs.weight divides each frequency by; empty if the file has no such tensor.
std::vector<float> stored_divisors(const io::Checkpoint& checkpoint, std::size_t half) {
  const TensorInfo* tensor = checkpoint.tensors().find("rope_freqs.weight");
  if (tensor == nullptr) return {};
  if (tensor->elements() != half || !io::is_computable(tensor->type))
    fail(ErrorKind::corrupt_file,
         {.code = "GG_TENSOR_SHAPE",
          .file = checkpoint.tensors().file_of(*tensor),
          .item = tensor->name,
          .found = to_string(tensor->shape),
          .expected = fmt::format("[{}]", half),
          .hint = "the file is damaged or made for another model"},
         "rope_freqs.weight has shape {}: expected [{}], half a head", to_string(tensor->shape),
         half);
  std::vector<float> values(half);
  io::to_float32(*tensor, values);
  for (const float value : values)
    if (!(value >= 1e-6F && value <= 1e6F))
      fail(ErrorKind::corrupt_file,
           {.code = "GG_PARAM",
            .file = checkpoint.tensors().file_of(*tensor),
            .item = tensor->name,
            .found = fmt::format("{}", value),
            .expected = "divisors in [1e-6, 1e6]",
            .hint = "the file is damaged"},
           "rope_freqs.weight holds {}: expected divisors in [1e-6, 1e6]", value);
  return values;
}

/// The usual parameters of Llama 3's scaling, if they give the same frequencies. The file's
/// divisors are float32 numbers, made in float32 from a smooth formula: equal to some units in the
/// last place.
std::optional<kernels::RopeParameters> recognise_llama3(const kernels::RopeParameters& divided) {
  kernels::RopeParameters usual = divided;
  usual.frequency_factors.clear();
  usual.scaling = kernels::RopeScaling::llama3;
  usual.factor = *std::ranges::max_element(divided.frequency_factors);
  if (usual.factor < 1) return std::nullopt;
  const kernels::Rope expected(usual);
  const kernels::Rope found(divided);
  for (std::size_t i = 0; i < found.frequencies().size(); ++i)
    if (std::abs(found.frequencies()[i] - expected.frequencies()[i]) >
        64 * 0x1p-24F * found.frequencies()[i])
      return std::nullopt;
  return usual;
}

double linear_factor(const GgufConfig& config) {
  const std::string* type = config.metadata().find_string(config.key("rope.scaling.type"));
  if (type != nullptr && *type != "none" && *type != "linear")
    config.unsupported("rope.scaling.type", quote(*type), "rotary scaling none or linear");
  if (type != nullptr && *type == "linear") return config.number("rope.scaling.factor", 1, 1e6);
  return config.number("rope.scale_linear", 1, 1e6, 1.0);  // what older files call it
}

OrderedJson rotary_scaling(const io::Checkpoint& checkpoint, const GgufConfig& config, double theta,
                           std::size_t head_width, std::size_t context) {
  const double factor = linear_factor(config);
  const kernels::RopeParameters rope{
      .theta = theta,
      .rotary_width = head_width,
      .frequency_factors = stored_divisors(checkpoint, head_width / 2)};
  if (rope.frequency_factors.empty()) {
    if (factor == 1) return nullptr;
    return {{"rope_type", "linear"}, {"factor", factor}};
  }
  if (factor == 1)
    if (const auto llama3 = recognise_llama3(rope))
      return {
          {"rope_type", "llama3"},
          {"factor", llama3->factor},
          {"low_freq_factor", llama3->low_frequency_factor},
          {"high_freq_factor", llama3->high_frequency_factor},
          {"original_max_position_embeddings", static_cast<std::size_t>(llama3->original_context)}};
  std::vector<double> divisors;
  for (const float divisor : rope.frequency_factors) divisors.push_back(divisor * factor);
  return {{"rope_type", "longrope"},  {"factor", 1.0},
          {"attention_factor", 1.0},  {"long_factor", divisors},
          {"short_factor", divisors}, {"original_max_position_embeddings", context}};
}

std::size_t head_width_of(const GgufConfig& config, std::size_t width, std::size_t heads) {
  const bool given = config.metadata().has(config.key("attention.key_length"));
  if (!given && width % heads != 0)
    config.refuse("attention.head_count", std::to_string(heads),
                  fmt::format("a divisor of the width {}", width));
  const std::int64_t head_width = config.integer("attention.key_length", 2, Caps::head_width,
                                                 static_cast<std::int64_t>(width / heads));
  if (head_width % 2 != 0 || head_width == 0)
    config.refuse("attention.head_count", std::to_string(heads), "heads of even width");
  const std::int64_t value_width =
      config.integer("attention.value_length", 1, Caps::head_width, head_width);
  if (value_width != head_width)
    config.unsupported("attention.value_length", std::to_string(value_width),
                       "values as wide as keys");
  const std::int64_t turned = config.integer("rope.dimension_count", 1, Caps::width, head_width);
  if (turned % 2 != 0 || turned > head_width)
    config.refuse("rope.dimension_count", std::to_string(turned),
                  fmt::format("an even number, at most the head width {}", head_width));
  if (turned != head_width)
    config.unsupported("rope.dimension_count", std::to_string(turned),
                       "rotary embedding of whole heads");
  return static_cast<std::size_t>(head_width);
}

/// Rows of the embedding, held against the vocabulary that the metadata state.
std::size_t vocabulary_of(const io::Checkpoint& checkpoint, const GgufConfig& config) {
  constexpr auto kMost = static_cast<std::int64_t>(Caps::vocabulary);
  const TensorInfo* embedding = checkpoint.tensors().find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    fail(ErrorKind::corrupt_file,
         {.code = "GG_TENSOR_MISSING",
          .file = config.metadata().file(),
          .item = "token_embd.weight",
          .expected = "a matrix",
          .hint = "a file that holds only a vocabulary serves `tender tokenize` alone"},
         "the file has no embedding token_embd.weight");
  const std::uint64_t rows = embedding->shape[0];
  if (rows > Caps::vocabulary)
    config.refuse("vocab_size", std::to_string(rows), fmt::format("at most {}", kMost));
  const std::int64_t stated =
      config.integer("vocab_size", 1, kMost, static_cast<std::int64_t>(rows));
  if (static_cast<std::uint64_t>(stated) != rows)
    config.refuse("vocab_size", std::to_string(stated),
                  fmt::format("{}, the rows of token_embd.weight", rows));
  return rows;
}

struct Biases {
  bool qkv, output, mlp;
};

/// The family of Hugging Face that has these biases and windows.
std::string_view family_of(const GgufConfig& config, const Biases& biases, std::int64_t window) {
  const bool any = biases.qkv || biases.output || biases.mlp;
  if (window != 0) {
    if (any)
      config.unsupported("attention.sliding_window", std::to_string(window),
                         "windows without biases");
    return "mistral";
  }
  if (biases.qkv && !biases.output && !biases.mlp) return "qwen2";
  if (biases.output && !biases.qkv)
    config.unsupported("attention.head_count", "a layer with a bias for its output alone",
                       "biases of q, k, v, or of all four");
  return "llama";
}

std::string_view class_of(std::string_view family) {
  if (family == "mistral") return "MistralForCausalLM";
  return family == "qwen2" ? "Qwen2ForCausalLM" : "LlamaForCausalLM";
}

}  // namespace

OrderedJson llama_config_of_gguf(const io::Checkpoint& checkpoint) {
  const GgufConfig config(checkpoint);
  const TensorSource& tensors = checkpoint.tensors();
  if (config.integer("expert_count", 0, kMaxHeads, 0) != 0)
    config.unsupported("expert_count", "not 0", "dense layers (no mixture of experts)");
  const auto width = static_cast<std::size_t>(config.integer("embedding_length", 1, kMaxWidth));
  const std::size_t layers = config.layers();
  const std::int64_t heads = config.layered("attention.head_count", 1, kMaxHeads, layers);
  const std::int64_t kv_heads =
      config.layered("attention.head_count_kv", 1, kMaxHeads, layers, heads);
  if (heads % kv_heads != 0)
    config.refuse("attention.head_count_kv", std::to_string(kv_heads),
                  fmt::format("a divisor of {} heads", heads));
  const std::size_t head_width = head_width_of(config, width, static_cast<std::size_t>(heads));
  const std::int64_t context = config.integer("context_length", 1, std::int64_t{Caps::context});
  const double theta = config.number("rope.freq_base", 1, 1e12, 10000);
  const std::int64_t window =
      config.integer("attention.sliding_window", 0, std::int64_t{Caps::context}, 0);
  const Biases biases{.qkv = tensors.find("blk.0.attn_q.bias") != nullptr,
                      .output = tensors.find("blk.0.attn_output.bias") != nullptr,
                      .mlp = tensors.find("blk.0.ffn_down.bias") != nullptr};
  const std::string_view family = family_of(config, biases, window);
  OrderedJson json = {
      {"architectures", OrderedJson::array({class_of(family)})},
      {"model_type", family},
      {"vocab_size", vocabulary_of(checkpoint, config)},
      {"hidden_size", width},
      {"intermediate_size", config.layered("feed_forward_length", 1, kMaxWidth, layers)},
      {"num_hidden_layers", layers},
      {"num_attention_heads", heads},
      {"num_key_value_heads", kv_heads},
      {"head_dim", head_width},
      {"hidden_act", "silu"},
      {"max_position_embeddings", context},
      {"rms_norm_eps", config.number("attention.layer_norm_rms_epsilon", 0, 1)},
      {"rope_theta", theta},
      {"rope_scaling",
       rotary_scaling(checkpoint, config, theta, head_width, static_cast<std::size_t>(context))},
      {"tie_word_embeddings", tensors.find("output.weight") == nullptr},
  };
  if (family == "llama") json["attention_bias"] = biases.output, json["mlp_bias"] = biases.mlp;
  if (family == "mistral") json["sliding_window"] = window;
  for (const char* name : {"bos", "eos"})
    if (const auto id = config.metadata().find_integer(
            fmt::format("tokenizer.ggml.{}_token_id", name), 0, std::int64_t{Caps::vocabulary}))
      json[fmt::format("{}_token_id", name)] = *id;
  return json;
}

}  // namespace tender::model
