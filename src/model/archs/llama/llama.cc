#include "model/archs/llama/llama.h"

#include <nlohmann/json.hpp>

#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"
#include "model/archs/llama/config.h"
#include "model/blocks/decoder.h"
#include "model/hf_config.h"

namespace tender::model {
namespace {

struct Layer {
  std::size_t number;
  std::size_t qkv, output, gate_up, down;  ///< sites
  std::vector<float> attention_norm, mlp_norm;
  std::size_t window;
};

/// What one pass computes, reused by its layers. Gate becomes the MLP's middle.
struct Workspace {
  Matrix normed;       ///< [tokens, width]
  Matrix q, attended;  ///< [tokens, heads * head_width]
  Matrix k, v;         ///< [tokens, kv_heads * head_width]
  Matrix gate, up;     ///< [tokens, intermediate]
  Matrix delta;        ///< [tokens, width]
  kernels::RopeAngles angles;
};

class Llama : public Decoder {
 public:
  Llama(const ModelSpec& spec, const LlamaConfig& config, const WeightReader& weights,
        const Loading& loading)
      : Decoder(spec, "model.embed_tokens.weight", weights, loading),
        config_(config),
        rope_(config.rope),
        epsilon_(static_cast<float>(config.norm_epsilon)),
        final_norm_(weights.vector("model.norm.weight")) {
    for (std::size_t n = 0; n < config.layers; ++n) {
      const std::string name = LlamaNames(n).layer;
      layers_.push_back({n, 4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3,
                         weights.vector(name + ".input_layernorm.weight"),
                         weights.vector(name + ".post_attention_layernorm.weight"),
                         config.windows[n]});
    }
  }

 private:
  std::size_t longest() const override { return Caps::context; }
  std::size_t other_bytes() const override {
    return (2 * layers_.size() + 1) * config_.width * sizeof(float);
  }

  void embed(const Step& step, MatrixView<float> x) const override {
    embedding().embed(step.tokens, x);
  }

  void run(std::size_t first, std::size_t end, const Step& step,
           MatrixView<float> x) const override {
    Workspace work = workspace(x.rows());
    if (step.part != LayerPart::mlp) rope_.turn(step.positions, work.angles, step.pool);
    for (std::size_t n = first; n < end; ++n) {
      if (step.part != LayerPart::mlp && !attention(layers_[n], x, step, work)) return;
      if (step.part == LayerPart::attention)
        add(work.delta.view(), x, step);
      else if (!mlp(layers_[n], x, step, work))
        return;
    }
  }

  bool attention(const Layer& layer, MatrixView<float> x, const Step& step, Workspace& w) const {
    const auto normed = [&](std::size_t m, std::span<float> row) {
      rms_norm(x.row(m), layer.attention_norm, row);
    };
    if (!project(layer.qkv, w.normed.view(), normed, {w.q.view(), w.k.view(), w.v.view()}, step))
      return false;
    kernels::apply_rope(w.angles, config_.head_width, w.q.view(), w.k.view(), step.pool);
    attend(layer.number, layer.window, w.q.view(), w.k.view(), w.v.view(), w.attended.view(), step);
    return project(layer.output, w.attended.view(), {w.delta.view()}, step);
  }

  /// x += what the attention gave, where it ran, then down(silu(gate(x)) * up(x)): SwiGLU (Shazeer
  /// 2020, arXiv 2002.05202).
  bool mlp(const Layer& layer, MatrixView<float> x, const Step& step, Workspace& w) const {
    const kernels::RowKernel& rows = *kernels().rows;
    const bool attended = step.part == LayerPart::whole;
    const auto normed = [&](std::size_t m, std::span<float> row) {
      if (attended) rows.add(x.row(m).data(), w.delta.row(m).data(), x.row(m).data(), x.cols());
      rms_norm(x.row(m), layer.mlp_norm, row);
    };
    if (!project(layer.gate_up, w.normed.view(), normed, {w.gate.view(), w.up.view()}, step))
      return false;
    const auto middle = [&](std::size_t m, std::span<float> row) {
      rows.silu_mul(w.gate.row(m).data(), w.up.row(m).data(), row.data(), row.size());
    };
    if (!project(layer.down, w.gate.view(), middle, {w.delta.view()}, step)) return false;
    add(w.delta.view(), x, step);
    return true;
  }

  void finish(MatrixView<float> x, ThreadPool& pool) const override {
    kernels::rms_norm(*kernels().rows, x, final_norm_, epsilon_, x, pool);
  }

  void rms_norm(std::span<const float> x, std::span<const float> weight, std::span<float> y) const {
    require(weight.size() == x.size() && y.size() == x.size(), "a norm has one weight per column");
    kernels().rows->rms_norm(x.data(), weight.data(), epsilon_, y.data(), x.size());
  }

  Workspace workspace(std::size_t tokens) const {
    const std::size_t queries = config_.heads * config_.head_width;
    const std::size_t keys = config_.kv_heads * config_.head_width;
    Workspace w;
    w.normed.resize(tokens, config_.width);
    w.q.resize(tokens, queries);
    w.attended.resize(tokens, queries);
    w.k.resize(tokens, keys);
    w.v.resize(tokens, keys);
    w.gate.resize(tokens, config_.intermediate);
    w.up.resize(tokens, config_.intermediate);
    w.delta.resize(tokens, config_.width);
    return w;
  }

  LlamaConfig config_;
  kernels::Rope rope_;
  float epsilon_;
  std::vector<Layer> layers_;
  std::vector<float> final_norm_;
};

std::unique_ptr<Decoder> load(const ModelSpec& spec, const WeightReader& weights,
                              const Loading& loading) {
  return std::make_unique<Llama>(
      spec, read_llama_config(Json::parse(spec.config_json), "config.json"), weights, loading);
}

constexpr HfName kHf[] = {{"llama", "LlamaForCausalLM"},
                          {"mistral", "MistralForCausalLM"},
                          {"qwen2", "Qwen2ForCausalLM"}};
constexpr GgufName kGguf[] = {{"llama", true}, {"qwen2", false}};

}  // namespace

constinit const Architecture kLlama = {.name = "llama",
                                       .hf = kHf,
                                       .gguf = kGguf,
                                       .config_of_gguf = llama_config_of_gguf,
                                       .spec = llama_spec,
                                       .load = load};

}  // namespace tender::model
