#include "compress/head.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "compress/measure.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

constexpr const char* kMethod = "tender";

/// Rows behind the final norm have a few loud channels: one step per token costs SmolLM2 0.6 % of
/// perplexity, a step per element (one-row) a tenth of that, and neither wants calibration.
Json options_of(int bits) {
  return {{"mode", "one-row"},
          {"weight_bits", bits},
          {"activation_bits", 8},
          {"rotation", "none"},
          {"weight_search", "rtn"},
          {"weight_scale", bits == 4 ? "mse" : "max"},
          {"multiplier_group", bits == 4 ? 64 : 0}};
}

}  // namespace

OrderedJson head_config(int bits) {
  OrderedJson config = {{"method", kMethod}};
  config.update(OrderedJson::parse(quant::method(kMethod).resolve(options_of(bits)).dump()));
  return config;
}

LayerReport quantize_head(const model::ModelSpec& spec, const model::WeightReader& weights,
                          int bits, StoredParts& parts, ThreadPool& pool) {
  const auto start = std::chrono::steady_clock::now();
  const model::SiteSpec& site = spec.head;
  const auto quantizer = quant::method(kMethod).quantizer(options_of(bits), site.shape);
  const Matrix matrix = weights.matrix(spec.head_weight);
  const MatrixView<const float> view = matrix.view();
  const auto packed = quantizer->quantize({&view, 1}, pool);
  const std::size_t bytes = save_site(*packed, site, parts).front();
  weights.release(spec.head_weight);
  return {
      .name = site.name,
      .method = kMethod,
      .site = site.name,
      .rows = packed->describe(),
      .source = std::string(to_string(weights.stored(spec.head_weight).type)),
      .out = site.shape.outs.front(),
      .in = site.shape.in,
      .bytes = bytes,
      .relative_error = relative_error(*packed, 0, view),
      .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace tender::compress
