#include "model/archs/llama/config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/blocks/rope_config.h"
#include "model/hf_config.h"

namespace tender::model {
namespace {

/// Sliding windows as each family states them: Mistral for all layers, Qwen 2 for those from
/// max_window_layers on and only if use_sliding_window says so, newer files in a list.
std::vector<std::size_t> read_windows(const HfConfig& config, const std::string& model_type,
                                      std::size_t layers) {
  std::vector<std::size_t> windows(layers, 0);
  const bool mistral = model_type == "mistral";
  if (model_type == "llama" || (model_type == "qwen2" && !config.flag("use_sliding_window", false)))
    return windows;
  const bool absent = !config.object().contains("sliding_window");
  if (!absent && !config.has("sliding_window")) return windows;  // null: none
  const std::size_t window = config.size("sliding_window", 1, Caps::context, 4096);
  if (config.has("layer_types")) {
    const auto types = config.texts("layer_types", layers);
    for (std::size_t n = 0; n < layers; ++n) {
      if (types[n] != "sliding_attention" && types[n] != "full_attention")
        config.unsupported("layer_types", "layers of type full_attention or sliding_attention");
      if (types[n] == "sliding_attention") windows[n] = window;
    }
    return windows;
  }
  const std::size_t first = mistral ? 0 : config.size("max_window_layers", 0, Caps::context, 28);
  for (std::size_t n = first; n < layers; ++n) windows[n] = window;
  return windows;
}

/// What the families take for granted where config.json says nothing.
struct Defaults {
  std::size_t kv_heads;
  std::size_t context;
};
Defaults defaults_of(const std::string& model_type, std::size_t heads) {
  if (model_type == "mistral") return {8, 131072};
  if (model_type == "qwen2") return {32, 32768};
  return {heads, 2048};
}

void read_heads(const HfConfig& config, LlamaConfig& c) {
  c.heads = config.size("num_attention_heads", 1, Caps::heads);
  const Defaults defaults = defaults_of(c.model_type, c.heads);
  const bool null_heads =
      config.object().contains("num_key_value_heads") && !config.has("num_key_value_heads");
  c.kv_heads =
      null_heads ? c.heads : config.size("num_key_value_heads", 1, Caps::heads, defaults.kv_heads);
  if (c.heads % c.kv_heads != 0)
    config.refuse("num_key_value_heads",
                  fmt::format("a divisor of num_attention_heads {}", c.heads));
  if (!config.has("head_dim") && c.width % c.heads != 0)
    config.refuse("hidden_size", fmt::format("a multiple of num_attention_heads {}", c.heads));
  c.head_width = config.size("head_dim", 2, Caps::head_width, c.width / c.heads);
  if (c.head_width % 2 != 0 || c.head_width == 0)
    config.refuse(config.has("head_dim") ? "head_dim" : "hidden_size",
                  "an even head width, since rotary pairs fill it");
  c.context = config.size("max_position_embeddings", 1, Caps::context, defaults.context);
}

}  // namespace

LlamaConfig read_llama_config(const Json& json, const std::string& file) {
  const HfConfig config(json, file);
  LlamaConfig c;
  c.model_type = config.text("model_type", "llama");
  c.layers = config.size("num_hidden_layers", 1, Caps::layers);
  c.width = config.size("hidden_size", 1, Caps::width);
  c.intermediate = config.size("intermediate_size", 1, Caps::width);
  c.vocabulary = config.size("vocab_size", 1, Caps::vocabulary);
  read_heads(config, c);
  c.norm_epsilon = config.number("rms_norm_eps", 0, 1, 1e-6);
  c.rope = read_rope(config, c.head_width);
  c.tied_head = config.flag("tie_word_embeddings", false);
  const bool attention_bias = config.flag("attention_bias", false);
  c.qkv_bias = attention_bias || c.model_type == "qwen2";
  c.output_bias = attention_bias;
  c.mlp_bias = config.flag("mlp_bias", false);
  c.windows = read_windows(config, c.model_type, c.layers);
  if (config.text("hidden_act", "silu") != "silu")
    config.unsupported("hidden_act", "hidden_act silu");
  return c;
}

LlamaNames::LlamaNames(std::size_t n)
    : layer(fmt::format("model.layers.{}", n)),
      qkv(layer + ".self_attn.qkv"),
      q(layer + ".self_attn.q_proj"),
      k(layer + ".self_attn.k_proj"),
      v(layer + ".self_attn.v_proj"),
      output(layer + ".self_attn.o_proj"),
      gate_up(layer + ".mlp.gate_up"),
      gate(layer + ".mlp.gate_proj"),
      up(layer + ".mlp.up_proj"),
      down(layer + ".mlp.down_proj") {}

namespace {

/// Adds a linear layer's weight and, where it has one, its bias.
void add_linear(ModelSpec& spec, const std::string& module, const std::string& gguf,
                std::size_t out, std::size_t in, bool bias, std::size_t rotary_heads = 0) {
  spec.tensors.push_back({module + ".weight", gguf + ".weight", {out, in}, rotary_heads});
  if (bias) spec.tensors.push_back({module + ".bias", gguf + ".bias", {out}, rotary_heads});
}

void add_layer(ModelSpec& spec, const LlamaConfig& c, std::size_t n) {
  const LlamaNames names(n);
  const std::string block = fmt::format("blk.{}.", n);
  const std::size_t queries = c.heads * c.head_width;
  const std::size_t keys = c.kv_heads * c.head_width;
  spec.tensors.push_back(
      {names.layer + ".input_layernorm.weight", block + "attn_norm.weight", {c.width}});
  add_linear(spec, names.q, block + "attn_q", queries, c.width, c.qkv_bias, c.heads);
  add_linear(spec, names.k, block + "attn_k", keys, c.width, c.qkv_bias, c.kv_heads);
  add_linear(spec, names.v, block + "attn_v", keys, c.width, c.qkv_bias);
  add_linear(spec, names.output, block + "attn_output", c.width, queries, c.output_bias);
  spec.tensors.push_back(
      {names.layer + ".post_attention_layernorm.weight", block + "ffn_norm.weight", {c.width}});
  add_linear(spec, names.gate, block + "ffn_gate", c.intermediate, c.width, c.mlp_bias);
  add_linear(spec, names.up, block + "ffn_up", c.intermediate, c.width, c.mlp_bias);
  add_linear(spec, names.down, block + "ffn_down", c.width, c.intermediate, c.mlp_bias);
  // centre: inputs behind a norm carry channel offsets, those of o_proj and down_proj do not
  // (tender.md 2.4)
  spec.sites.push_back(
      {names.qkv, {names.q, names.k, names.v}, {c.width, {queries, keys, keys}, true, false}});
  spec.sites.back().norm = names.layer + ".input_layernorm";
  spec.sites.push_back({names.output, {names.output}, {queries, {c.width}, false, false}});
  spec.sites.push_back({names.gate_up,
                        {names.gate, names.up},
                        {c.width, {c.intermediate, c.intermediate}, true, false}});
  spec.sites.back().norm = names.layer + ".post_attention_layernorm";
  spec.sites.push_back({names.down, {names.down}, {c.intermediate, {c.width}, false, false}});
}

}  // namespace

ModelSpec llama_spec(const Json& config, const std::string& file) {
  const LlamaConfig c = read_llama_config(config, file);
  ModelSpec spec;
  spec.info = {.architecture = "llama",
               .model_type = c.model_type,
               .layers = c.layers,
               .width = c.width,
               .intermediate = c.intermediate,
               .heads = c.heads,
               .kv_heads = c.kv_heads,
               .head_width = c.head_width,
               .vocabulary = c.vocabulary,
               .context = c.context,
               .tied_head = c.tied_head,
               .parameters = 0};
  spec.tensors.push_back(
      {"model.embed_tokens.weight", "token_embd.weight", {c.vocabulary, c.width}});
  for (std::size_t n = 0; n < c.layers; ++n) add_layer(spec, c, n);
  spec.tensors.push_back({"model.norm.weight", "output_norm.weight", {c.width}});
  if (!c.tied_head)
    spec.tensors.push_back({"lm_head.weight", "output.weight", {c.vocabulary, c.width}});
  return spec;
}

}  // namespace tender::model
