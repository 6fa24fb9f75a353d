#include "compress/head.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/contracts.h"
#include "compress/measure.h"

namespace tender::compress {
namespace {

constexpr const char* kMethod = "tender";

/// Rows behind the final norm have a few loud channels: one step per token costs SmolLM2 0.6 % of
/// perplexity, a step per element (one-row) a tenth of that, and knows nothing of rows before. At 8
/// bits that is all. At 4 bits the weights decide, rounded to nearest (4 windows of wiki.test.raw):
/// 23 % as they are with a multiplier per 64 inputs, 13 % with one per 32, 12 % rotated, 8 % both;
/// compensated as well 2 %, in the order in which multipliers are chosen on the way.
Json options_of(int bits, bool sees_rows) {
  const bool four = bits == 4;
  return {{"mode", "one-row"},
          {"weight_bits", bits},
          {"activation_bits", 8},
          {"rotation", four ? "hadamard" : "none"},
          {"weight_search", sees_rows ? "gptq" : "rtn"},
          {"weight_scale", four ? "mse" : "max"},
          {"sweep_order", "natural"},
          {"first_row_share", 0},  // its rows feed no attention
          {"multiplier_group", four ? 32 : 0}};
}

}  // namespace

HeadQuantizer::HeadQuantizer(const model::ModelSpec& spec, const model::WeightReader& weights,
                             int bits, bool sees_rows)
    : spec_(spec),
      weights_(weights),
      options_(options_of(bits, sees_rows).dump()),
      quantizer_(quant::method(kMethod).quantizer(Json::parse(options_), spec.head.shape)) {
  require(wants_rows(bits) || !sees_rows, "rows are wanted");
}

const Matrix& HeadQuantizer::matrix() {
  if (matrix_.rows() == 0) matrix_ = weights_.matrix(spec_.head_weight);
  return matrix_;
}

void HeadQuantizer::observe(const Rows& rows, Isa isa, ThreadPool& pool) {
  if (!settled_) {
    const MatrixView<const float> view = matrix().view();
    quantizer_->settle({&view, 1});
    settled_ = true;
    matrix_ = Matrix();  // which is as large as many layers
  }
  quantizer_->observe_rounded(rows, isa, pool);
}

LayerReport HeadQuantizer::quantize(StoredParts& parts, ThreadPool& pool) {
  const auto start = std::chrono::steady_clock::now();
  const model::SiteSpec& site = spec_.head;
  const MatrixView<const float> view = matrix().view();
  const auto packed = quantizer_->quantize({&view, 1}, pool);
  const std::size_t bytes = save_site(*packed, site, parts).front();
  LayerReport report = {
      .name = site.name,
      .method = kMethod,
      .site = site.name,
      .rows = packed->describe(),
      .source = std::string(to_string(weights_.stored(spec_.head_weight).type)),
      .out = site.shape.outs.front(),
      .in = site.shape.in,
      .bytes = bytes,
      .relative_error = relative_error(*packed, 0, view),
      .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
  matrix_ = Matrix();
  weights_.release(spec_.head_weight);
  return report;
}

OrderedJson HeadQuantizer::config() const {
  OrderedJson config = {{"method", kMethod}};
  config.update(OrderedJson::parse(quant::method(kMethod).resolve(Json::parse(options_)).dump()));
  return config;
}

}  // namespace tender::compress
