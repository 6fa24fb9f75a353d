#include "eval/log_probability.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/contracts.h"
#include "kernels/math.h"

namespace tender::eval {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kBlock = 256;  // exponentials that are made before they are summed
using Lanes = std::array<double, kLanes>;

/// Largest element; NaN is passed over, since it will show in the sum.
float maximum(std::span<const float> values) {
  std::array<float, kLanes> most;
  most.fill(values.front());
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j)
      most[j] = most[j] < values[i + j] ? values[i + j] : most[j];
  for (; i < values.size(); ++i) most[0] = most[0] < values[i] ? values[i] : most[0];
  float result = most[0];
  for (const float each : most) result = result < each ? each : result;
  return result;
}

/// Differences to the maximum; what is below -700 becomes -700, whose exponential no sum that holds
/// e^0 sees. In steps of kLanes, since g++ 12 makes vectors of a comparison only there.
inline void differences(const float* values, double most, std::array<double, kBlock>& out) {
  for (std::size_t i = 0; i < kBlock; i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) {
      const double x = static_cast<double>(values[i + j]) - most;
      out[i + j] = x < -700.0 ? -700.0 : x;
    }
}

/// e^x for -700 <= x <= 0, relative error below 2^-50; NaN gives NaN.
///
/// Multiplications and additions only, so that the compiler's vectors of any width run it: an
/// evaluation takes one exponential per token and vocabulary entry. kernels::fixed_exp, made of
/// fused steps, is a library call each on plain x86-64.
inline double exp_of_negative(double x) {
  constexpr double kLog2e = 0x1.71547652b82fep+0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // 21 trailing zero bits: n * kLn2High is exact
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  const double shifted = x * kLog2e + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln(2) / 2
  // Taylor series to r^12: the first term left out is r^13 / 13! < 2^-52
  double p = 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto exponent = (std::bit_cast<std::uint64_t>(shifted) + 1023U) << 52U;
  return p * std::bit_cast<double>(exponent);
}

/// kBlock logits from `begin` on, -infinity past the last.
class Blocks {
 public:
  explicit Blocks(std::span<const float> logits) : logits_(logits) {}
  const float* at(std::size_t begin) {
    if (logits_.size() - begin >= kBlock) return logits_.data() + begin;
    tail_.fill(-std::numeric_limits<float>::infinity());
    std::copy(logits_.begin() + static_cast<std::ptrdiff_t>(begin), logits_.end(), tail_.begin());
    return tail_.data();
  }

 private:
  std::span<const float> logits_;
  std::array<float, kBlock> tail_;
};

void add(const std::array<double, kBlock>& terms, Lanes& sums) {
  for (std::size_t i = 0; i < kBlock; i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) sums[j] += terms[i + j];
}

/// Differences to the maximum of P minus those of Q, 0 where P weighs less than e^-700: what Q says
/// there is multiplied by nothing. Padding is such a place.
void log_ratios(const std::array<double, kBlock>& p, const float* model, double most,
                std::array<double, kBlock>& out) {
  for (std::size_t i = 0; i < kBlock; i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) {
      const double ratio = p[i + j] - (static_cast<double>(model[i + j]) - most);
      out[i + j] = p[i + j] > -700.0 ? ratio : 0.0;
    }
}

double total(const Lanes& sums) {
  double sum = 0;
  for (const double each : sums) sum += each;
  return sum;
}

double loss_of(double log_sum, double most, float target) {
  return log_sum + (most - static_cast<double>(target));
}

/// The lowest place of `most`, which is there unless all are NaN.
std::size_t place_of(std::span<const float> logits, float most) {
  return static_cast<std::size_t>(std::find(logits.begin(), logits.end(), most) - logits.begin());
}

}  // namespace

double negative_log_probability(std::span<const float> logits, std::size_t target) {
  require(target < logits.size(), "the target is in the vocabulary");
  const double most = maximum(logits);
  Lanes sums{};
  Blocks blocks(logits);
  std::array<double, kBlock> exps;
  for (std::size_t begin = 0; begin < logits.size(); begin += kBlock) {
    differences(blocks.at(begin), most, exps);
    for (double& each : exps) each = exp_of_negative(each);
    add(exps, sums);
  }
  return loss_of(kernels::fixed_log(total(sums)), most, logits[target]);
}

RowComparison compare_rows(std::span<const float> base, std::span<const float> model,
                           std::size_t target) {
  require(base.size() == model.size(), "both models have one vocabulary");
  require(target < base.size(), "the target is in the vocabulary");
  const float most_p = maximum(base);
  const float most_q = maximum(model);
  Lanes sums_p{};
  Lanes sums_q{};
  Lanes weighted{};
  Blocks blocks_p(base);
  Blocks blocks_q(model);
  std::array<double, kBlock> p;
  std::array<double, kBlock> q;
  std::array<double, kBlock> ratios;
  for (std::size_t begin = 0; begin < base.size(); begin += kBlock) {
    const float* logits_q = blocks_q.at(begin);
    differences(blocks_p.at(begin), most_p, p);
    differences(logits_q, most_q, q);
    log_ratios(p, logits_q, most_q, ratios);
    for (double& each : p) each = exp_of_negative(each);
    for (double& each : q) each = exp_of_negative(each);
    add(p, sums_p);
    add(q, sums_q);
    for (std::size_t i = 0; i < kBlock; ++i) ratios[i] *= p[i];
    add(ratios, weighted);
  }
  const double sum_p = total(sums_p);
  const double log_p = kernels::fixed_log(sum_p);
  const double log_q = kernels::fixed_log(total(sums_q));
  const double divergence = total(weighted) / sum_p + (log_q - log_p);
  return {.base_loss = loss_of(log_p, most_p, base[target]),
          .loss = loss_of(log_q, most_q, model[target]),
          .divergence = divergence < 0 ? 0 : divergence,
          .same_top = place_of(base, most_p) == place_of(model, most_q)};
}

}  // namespace tender::eval
