#include "model/archs/opt/opt.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/contracts.h"
#include "kernels/rows/rows.h"
#include "model/archs/opt/config.h"
#include "model/blocks/decoder.h"

namespace tender::model {
namespace {

constexpr float kEpsilon = 1e-5F;  // of every layer norm; no setting of OPT changes it

/// Layer norm with weights, or with ones and zeros where the model has none.
struct Norm {
  std::vector<float> weight, bias;

  Norm(const WeightReader& weights, const std::string& module, const OptConfig& c)
      : weight(c.norm_weights ? weights.vector(module + ".weight")
                              : std::vector<float>(c.width, 1)),
        bias(c.norm_weights ? weights.vector(module + ".bias") : std::vector<float>()) {}
  std::size_t bytes() const { return (weight.size() + bias.size()) * sizeof(float); }
};

struct Layer {
  std::size_t number;
  std::size_t qkv, output, fc1, fc2;  ///< sites
  Norm attention_norm, mlp_norm;
};

/// What one pass computes, reused by its layers.
struct Workspace {
  Matrix normed, q, k, v, attended, delta;  ///< [tokens, width]
  Matrix middle;                            ///< [tokens, intermediate]
};

/// The two projections of a model whose embedding is narrower than its residual stream.
struct Projections {
  kernels::PanelsF32 in;   ///< [width, embedding width]
  kernels::PanelsF32 out;  ///< [embedding width, width]
};

class Opt : public Decoder {
 public:
  Opt(const ModelSpec& spec, const OptConfig& config, const WeightReader& weights,
      const Loading& loading)
      : Decoder(spec, kOptDecoder + ".embed_tokens.weight", weights, loading),
        config_(config),
        positions_(weights, kOptDecoder + ".embed_positions.weight") {
    if (config.embedding_width != config.width)
      projections_ = Projections{read_panels(weights, kOptDecoder + ".project_in.weight"),
                                 read_panels(weights, kOptDecoder + ".project_out.weight")};
    for (std::size_t n = 0; n < config.layers; ++n) {
      const OptNames names(n);
      layers_.push_back({n, 4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3,
                         Norm(weights, names.attention_norm, config),
                         Norm(weights, names.mlp_norm, config)});
    }
    if (config.final_norm) final_norm_.emplace(weights, kOptDecoder + ".final_layer_norm", config);
  }

 private:
  std::size_t longest() const override { return config_.context; }

  std::size_t other_bytes() const override {
    std::size_t sum = positions_.bytes();
    for (const Layer& layer : layers_) sum += layer.attention_norm.bytes() + layer.mlp_norm.bytes();
    if (final_norm_) sum += final_norm_->bytes();
    if (projections_) sum += projections_->in.bytes() + projections_->out.bytes();
    return sum;
  }

  void run(std::size_t first, std::size_t end, const Step& step,
           MatrixView<float> x) const override {
    Workspace work = workspace(x.rows());
    for (std::size_t n = first; n < end; ++n) {
      if (step.part != LayerPart::mlp && !attention(layers_[n], x, step, work)) return;
      if (step.part != LayerPart::attention && !mlp(layers_[n], x, step, work)) return;
    }
  }

  /// x = project_in(token embedding) + position embedding.
  void embed(const Step& step, MatrixView<float> x) const override {
    Matrix places(x.rows(), config_.width);
    if (projections_) {
      Matrix narrow(x.rows(), config_.embedding_width);
      embedding().embed(step.tokens, narrow.view());
      kernels::gemm_f32(*kernels().gemm, narrow.view(), projections_->in, {}, x, step.pool);
    } else {
      embedding().embed(step.tokens, x);
    }
    for (std::size_t t = 0; t < x.rows(); ++t)
      positions_.read(static_cast<std::size_t>(step.positions[t]) + kOptPositionOffset,
                      places.row(t));
    add(places.view(), x, step);
  }

  bool attention(const Layer& layer, MatrixView<float> x, const Step& step, Workspace& w) const {
    const auto in =
        config_.norm_before ? norm(layer.attention_norm, x, w.normed.view(), step.pool) : x;
    if (!project(layer.qkv, in, {w.q.view(), w.k.view(), w.v.view()}, step)) return false;
    attend(layer.number, 0, w.q.view(), w.k.view(), w.v.view(), w.attended.view(), step);
    if (!project(layer.output, w.attended.view(), {w.delta.view()}, step)) return false;
    add(w.delta.view(), x, step);
    if (!config_.norm_before) norm(layer.attention_norm, x, x, step.pool);
    return true;
  }

  /// fc2(relu(fc1(x))).
  bool mlp(const Layer& layer, MatrixView<float> x, const Step& step, Workspace& w) const {
    const auto in = config_.norm_before ? norm(layer.mlp_norm, x, w.normed.view(), step.pool) : x;
    if (!project(layer.fc1, in, {w.middle.view()}, step)) return false;
    kernels::relu(*kernels().rows, w.middle.view(), w.middle.view(), step.pool);
    if (!project(layer.fc2, w.middle.view(), {w.delta.view()}, step)) return false;
    add(w.delta.view(), x, step);
    if (!config_.norm_before) norm(layer.mlp_norm, x, x, step.pool);
    return true;
  }

  void finish(MatrixView<float> x, ThreadPool& pool) const override {
    if (final_norm_) norm(*final_norm_, x, x, pool);
  }

  void project_head(MatrixView<const float> hidden, MatrixView<float> logits,
                    ThreadPool& pool) const override {
    if (!projections_) return Decoder::project_head(hidden, logits, pool);
    Matrix narrow(hidden.rows(), config_.embedding_width);
    kernels::gemm_f32(*kernels().gemm, hidden, projections_->out, {}, narrow.view(), pool);
    embedding().logits(narrow.view(), logits, pool);
  }

  MatrixView<float> norm(const Norm& norm, MatrixView<const float> x, MatrixView<float> y,
                         ThreadPool& pool) const {
    kernels::layer_norm(*kernels().rows, x, norm.weight, norm.bias, kEpsilon, y, pool);
    return y;
  }

  Workspace workspace(std::size_t tokens) const {
    Workspace w;
    for (Matrix* matrix : {&w.normed, &w.q, &w.k, &w.v, &w.attended, &w.delta})
      matrix->resize(tokens, config_.width);
    w.middle.resize(tokens, config_.intermediate);
    return w;
  }

  OptConfig config_;
  StoredRows positions_;
  std::optional<Projections> projections_;
  std::vector<Layer> layers_;
  std::optional<Norm> final_norm_;
};

OrderedJson no_gguf(const io::Checkpoint&) {
  contract_violated("GGUF files have no architecture opt", __FILE__, __LINE__);
}

std::unique_ptr<Decoder> load(const ModelSpec& spec, const WeightReader& weights,
                              const Loading& loading) {
  return std::make_unique<Opt>(spec, read_opt_config(Json::parse(spec.config_json), "config.json"),
                               weights, loading);
}

constexpr HfName kHf[] = {{"opt", "OPTForCausalLM"}};

}  // namespace

constinit const Architecture kOpt = {.name = "opt",
                                     .hf = kHf,
                                     .gguf = {},
                                     .config_of_gguf = no_gguf,
                                     .spec = opt_spec,
                                     .load = load};

}  // namespace tender::model
