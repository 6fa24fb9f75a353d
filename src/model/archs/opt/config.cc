#include "model/archs/opt/config.h"

#include <fmt/format.h>

#include "model/hf_config.h"

namespace tender::model {

OptConfig read_opt_config(const Json& json, const std::string& file) {
  const HfConfig config(json, file);
  OptConfig c;
  c.layers = config.size("num_hidden_layers", 1, Caps::layers);
  c.width = config.size("hidden_size", 1, Caps::width);
  c.intermediate = config.size("ffn_dim", 1, Caps::width);
  c.heads = config.size("num_attention_heads", 1, Caps::heads);
  c.vocabulary = config.size("vocab_size", 1, Caps::vocabulary);
  c.context = config.size("max_position_embeddings", 1, Caps::context, 2048);
  if (c.width % c.heads != 0)
    config.refuse("hidden_size", fmt::format("a multiple of num_attention_heads {}", c.heads));
  if (c.width / c.heads > Caps::head_width)
    config.refuse("num_attention_heads",
                  fmt::format("heads of width at most {}", Caps::head_width));
  c.embedding_width = config.size("word_embed_proj_dim", 1, Caps::width, c.width);
  c.norm_before = config.flag("do_layer_norm_before", true);
  c.final_norm = c.norm_before && !config.flag("_remove_final_layer_norm", false);
  c.norm_weights = config.flag("layer_norm_elementwise_affine", true);
  c.bias = config.flag("enable_bias", true);
  c.tied_head = config.flag("tie_word_embeddings", true);
  if (config.text("activation_function", "relu") != "relu")
    config.unsupported("activation_function", "activation_function relu");
  return c;
}

OptNames::OptNames(std::size_t n)
    : layer(fmt::format("{}.layers.{}", kOptDecoder, n)),
      qkv(layer + ".self_attn.qkv"),
      q(layer + ".self_attn.q_proj"),
      k(layer + ".self_attn.k_proj"),
      v(layer + ".self_attn.v_proj"),
      output(layer + ".self_attn.out_proj"),
      fc1(layer + ".fc1"),
      fc2(layer + ".fc2"),
      attention_norm(layer + ".self_attn_layer_norm"),
      mlp_norm(layer + ".final_layer_norm") {}

namespace {

void add_linear(ModelSpec& spec, const std::string& module, std::size_t out, std::size_t in,
                bool bias) {
  spec.tensors.push_back({module + ".weight", "", {out, in}});
  if (bias) spec.tensors.push_back({module + ".bias", "", {out}});
}

void add_norm(ModelSpec& spec, const std::string& module, const OptConfig& c) {
  if (!c.norm_weights) return;
  spec.tensors.push_back({module + ".weight", "", {c.width}});
  spec.tensors.push_back({module + ".bias", "", {c.width}});
}

void add_layer(ModelSpec& spec, const OptConfig& c, std::size_t n) {
  const OptNames names(n);
  for (const std::string& module : {names.q, names.k, names.v, names.output})
    add_linear(spec, module, c.width, c.width, c.bias);
  add_norm(spec, names.attention_norm, c);
  add_linear(spec, names.fc1, c.intermediate, c.width, c.bias);
  add_linear(spec, names.fc2, c.width, c.intermediate, c.bias);
  add_norm(spec, names.mlp_norm, c);
  // centre: all inputs but those behind the ReLU carry channel offsets (tender.md 2.4)
  const bool own_norms =
      c.norm_before && c.norm_weights;  // else the residual stream reads them too
  spec.sites.push_back({names.qkv,
                        {names.q, names.k, names.v},
                        {c.width, {c.width, c.width, c.width}, true, false}});
  if (own_norms) spec.sites.back().norm = names.attention_norm;
  spec.sites.push_back({names.output, {names.output}, {c.width, {c.width}, true, false}});
  spec.sites.push_back({names.fc1, {names.fc1}, {c.width, {c.intermediate}, true, false}});
  if (own_norms) spec.sites.back().norm = names.mlp_norm;
  spec.sites.push_back({names.fc2, {names.fc2}, {c.intermediate, {c.width}, false, true}});
}

}  // namespace

ModelSpec opt_spec(const Json& config, const std::string& file) {
  const OptConfig c = read_opt_config(config, file);
  ModelSpec spec;
  spec.info = {.architecture = "opt",
               .model_type = "opt",
               .layers = c.layers,
               .width = c.width,
               .intermediate = c.intermediate,
               .heads = c.heads,
               .kv_heads = c.heads,
               .head_width = c.width / c.heads,
               .vocabulary = c.vocabulary,
               .context = c.context,
               .tied_head = c.tied_head,
               .parameters = 0};
  spec.tensors.push_back(
      {kOptDecoder + ".embed_tokens.weight", "", {c.vocabulary, c.embedding_width}});
  spec.tensors.push_back(
      {kOptDecoder + ".embed_positions.weight", "", {c.context + kOptPositionOffset, c.width}});
  if (c.embedding_width != c.width) {
    add_linear(spec, kOptDecoder + ".project_in", c.width, c.embedding_width, false);
    add_linear(spec, kOptDecoder + ".project_out", c.embedding_width, c.width, false);
  }
  for (std::size_t n = 0; n < c.layers; ++n) add_layer(spec, c, n);
  if (c.final_norm) add_norm(spec, kOptDecoder + ".final_layer_norm", c);
  if (!c.tied_head)
    spec.tensors.push_back({"lm_head.weight", "", {c.vocabulary, c.embedding_width}});
  return spec;
}

}  // namespace tender::model
