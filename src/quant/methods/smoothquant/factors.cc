#include "quant/methods/smoothquant/factors.h"

#include <algorithm>
#include <cmath>

#include "base/contracts.h"
#include "kernels/math.h"

namespace tender::quant {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr float kTiny = 0x1p-80F;
constexpr double kMostProduct = 120;  // as a power of two

/// Logarithm of s to base 2, so that neither s, nor 1 / s, nor |w| s overflows.
double exponent_of(double rows, double weights, double alpha) {
  const double x = kernels::fixed_log(rows) / kLn2;
  const double w = kernels::fixed_log(weights) / kLn2;
  const double most = std::min<double>(kMostExponent, kMostProduct - w);
  return std::clamp<double>(alpha * x - (1 - alpha) * w, -kMostExponent, most);
}

}  // namespace

std::vector<float> weight_reach(std::span<const MatrixView<const float>> weights) {
  std::vector<float> reach(weights.front().cols(), 0.0F);
  for (const MatrixView<const float> w : weights)
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < reach.size(); ++k)
        reach[k] = std::max(reach[k], std::abs(w(n, k)));
  return reach;
}

std::vector<float> smoothing_factors(const ChannelReach& reach, int alpha_percent,
                                     bool powers_of_two) {
  require(reach.rows.size() == reach.weights.size(), "both reaches are [in]");
  std::vector<float> factors(reach.rows.size(), 1.0F);
  if (alpha_percent == kNoSmoothing) return factors;
  for (std::size_t k = 0; k < factors.size(); ++k) {
    if (reach.rows[k] < kTiny || reach.weights[k] < kTiny) continue;
    const double exponent = exponent_of(reach.rows[k], reach.weights[k], alpha_percent / 100.0);
    factors[k] = powers_of_two ? std::ldexp(1.0F, static_cast<int>(std::floor(exponent + 0.5)))
                               : static_cast<float>(kernels::fixed_exp(exponent * kLn2));
  }
  return factors;
}

void scale_columns(MatrixView<const float> w, std::span<const float> factors,
                   MatrixView<float> out) {
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < factors.size(); ++k) out(n, k) = w(n, k) * factors[k];
}

}  // namespace tender::quant
