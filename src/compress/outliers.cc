#include "compress/outliers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/rng.h"

namespace tender::compress {
namespace {

[[noreturn]] void refuse(const std::string& item, const std::string& found,
                         const std::string& expected) {
  fail(ErrorKind::invalid_argument,
       {.code = "OUTLIERS",
        .item = item,
        .found = found,
        .expected = expected,
        .hint = "for example --factors 8,32 --channels 6"},
       "{} {}: expected {}", item, found, expected);
}

[[noreturn]] void refuse_model(const std::string& what) {
  fail(ErrorKind::unsupported,
       {.code = "ARCH_FEATURE",
        .item = "outliers",
        .found = what,
        .expected = "norms that one site alone reads",
        .hint = "use a model whose norms stand before its layers"},
       "this model cannot be given outlier channels: {}", what);
}

}  // namespace

Outliers::Outliers(const io::Checkpoint& checkpoint, const OutlierRequest& request) {
  const model::ModelSpec spec = model::read_spec(checkpoint);
  const model::WeightReader weights(checkpoint, spec);
  choose(spec.info.width, request);
  for (const model::SiteSpec& site : spec.sites) {
    if (site.norm.empty()) continue;
    norms_[site.norm] = std::vector<float>(channels_.size(), 0.0F);
    for (const std::string& linear : site.linears) weights_[linear + ".weight"] = true;
    if (request.offset != 0) plan_offsets(site, weights, request.offset);
  }
  if (norms_.empty()) refuse_model("it has no norm that one site alone reads");
}

void Outliers::choose(std::size_t width, const OutlierRequest& request) {
  if (request.factors.empty()) refuse("--factors", "none", "at least one");
  for (const float factor : request.factors)
    if (!(std::isfinite(factor) && factor >= 1.0F && factor <= 1024.0F))
      refuse("--factors", fmt::format("{}", factor), "numbers from 1 to 1024");
  if (request.channels == 0 || request.channels > width)
    refuse("--channels", std::to_string(request.channels), fmt::format("1 to {}", width));
  if (!std::isfinite(request.offset) || std::abs(request.offset) > 1e6)
    refuse("--offset", fmt::format("{}", request.offset), "a number up to 1e6");
  Rng rng(request.seed, "outlier channels");
  std::set<std::size_t> chosen;
  while (chosen.size() < request.channels) chosen.insert(rng.below(width));
  channels_.assign(chosen.begin(), chosen.end());
  for (std::size_t i = 0; i < channels_.size(); ++i)
    factors_.push_back(request.factors[i % request.factors.size()]);
}

// The rows of the site gain c[k] in channel k, after its factor: W'[n, k] * c[k] must go.
void Outliers::plan_offsets(const model::SiteSpec& site, const model::WeightReader& weights,
                            double offset) {
  if (!weights.has(site.norm + ".bias")) refuse_model("its norms have no bias to hold an offset");
  const std::vector<float> gain = weights.vector(site.norm + ".weight");
  std::vector<float>& added = norms_.at(site.norm);
  for (std::size_t i = 0; i < channels_.size(); ++i)
    added[i] = static_cast<float>(offset) * std::abs(gain[channels_[i]]) * factors_[i];
  for (const std::string& linear : site.linears) {
    if (!weights.has(linear + ".bias")) refuse_model("its layers have no bias to take it back");
    const Matrix w = weights.matrix(linear + ".weight");
    std::vector<float>& lost = biases_[linear + ".bias"];
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double sum = 0;
      for (std::size_t i = 0; i < channels_.size(); ++i)
        sum +=
            static_cast<double>(w(n, channels_[i]) / factors_[i]) * static_cast<double>(added[i]);
      lost.push_back(static_cast<float>(sum));
    }
  }
}

void Outliers::apply(const std::string& tensor, std::size_t, MatrixView<float> rows) const {
  const std::size_t dot = tensor.rfind('.');
  const auto norm = norms_.find(tensor.substr(0, dot));
  if (norm != norms_.end()) {
    const bool bias = tensor.ends_with(".bias");
    for (std::size_t i = 0; i < channels_.size(); ++i) {
      rows(0, channels_[i]) *= factors_[i];
      if (bias) rows(0, channels_[i]) += norm->second[i];
    }
  } else if (weights_.contains(tensor)) {
    for (std::size_t r = 0; r < rows.rows(); ++r)
      for (std::size_t i = 0; i < channels_.size(); ++i) rows(r, channels_[i]) /= factors_[i];
  } else if (const auto bias = biases_.find(tensor); bias != biases_.end()) {
    for (std::size_t n = 0; n < bias->second.size(); ++n) rows(0, n) -= bias->second[n];
  }
}

}  // namespace tender::compress
