#include "quant/weight_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/contracts.h"
#include "base/error.h"
#include "tensor/largest.h"

namespace tender::quant {
namespace {

// Of the largest weight that keeps its place, in steps of 2 % down to half.
constexpr int kClips = 26;
constexpr float kClipStep = 0.02F;
// Scales under multipliers, in steps of 5 % down to 70 %; groups are clipped to 55 % at most.
constexpr int kScales = 7;
constexpr float kScaleStep = 0.05F;
constexpr float kLeastOfGroup = 0.55F;

/// sum of importance * (w - q)^2 in float32, eight sums side by side, added pairwise at the end.
float rounding_cost(std::span<const float> w, std::span<const float> importance, float step,
                    int high) {
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> sums{};
  const auto cost = [&](std::size_t k) {
    const float error = w[k] - nearest_weight_code(w[k], step, high) * step;
    return importance[k] * (error * error);
  };
  std::size_t k = 0;
  for (; k + kLanes <= w.size(); k += kLanes)
    for (std::size_t i = 0; i < kLanes; ++i) sums[i] += cost(k + i);
  for (std::size_t i = 0; k < w.size(); ++k, ++i) sums[i] += cost(k);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

/// Scales and multipliers for codes that are the nearest.
class ScaleSearch {
 public:
  ScaleSearch(const WeightFormat& format, WeightScale choice, std::span<const float> importance)
      : format_(format),
        choice_(choice),
        importance_(importance),
        high_(highest_weight_code(format.bits)) {}

  /// One scale for some rows, all of their inputs from `begin` on.
  float scale(MatrixView<const float> w, std::size_t begin) const {
    const float largest = largest_magnitude(w);
    const float whole = scale_of_largest(largest, high_);
    if (choice_ == WeightScale::max || largest < kTinyWeight) return whole;
    float best = whole;
    float least = std::numeric_limits<float>::max();
    for (int clip = 0; clip < kClips; ++clip) {
      const float scale = whole * (1 - kClipStep * static_cast<float>(clip));
      float cost = 0;
      for (std::size_t n = 0; n < w.rows(); ++n)
        cost += rounding_cost(w.row(n), importance_.subspan(begin, w.cols()), scale, high_);
      if (cost < least) {
        least = cost;
        best = scale;
      }
    }
    return best;
  }

  /// The scale of an output whose groups of inputs have multipliers. @param multipliers [groups]
  float scale(std::span<const float> w, std::span<std::uint8_t> multipliers) const {
    const auto most = static_cast<float>(highest_multiplier(format_.bits));
    const float largest = largest_magnitude(w);
    std::fill(multipliers.begin(), multipliers.end(), std::uint8_t{1});
    if (largest < kTinyWeight) return 1;
    const float whole = scale_of_largest(largest, high_) / most;
    float best = whole;
    float least = std::numeric_limits<float>::max();
    std::vector<std::uint8_t> chosen(multipliers.size());
    for (int s = 0; s < (choice_ == WeightScale::max ? 1 : kScales); ++s) {
      const float scale = whole * (1 - kScaleStep * static_cast<float>(s));
      float cost = 0;
      for (std::size_t g = 0; g < chosen.size(); ++g) {
        const std::size_t begin = g * format_.group;
        float of_group = 0;
        chosen[g] = multiplier(w.subspan(begin, std::min(format_.group, w.size() - begin)), begin,
                               scale, of_group);
        cost += of_group;
      }
      if (s > 0 && !(cost < least)) continue;
      least = cost;
      best = scale;
      std::copy(chosen.begin(), chosen.end(), multipliers.begin());
    }
    return best;
  }

  /// The multiplier of the group of inputs from `begin` on under a scale. @param cost  what it
  /// costs
  std::uint8_t multiplier(std::span<const float> group, std::size_t begin, float scale,
                          float& cost) const {
    const auto most = static_cast<float>(highest_multiplier(format_.bits));
    const float wanted = largest_magnitude(group) / static_cast<float>(high_) / scale;
    const auto top = static_cast<int>(std::clamp(std::ceil(wanted), 1.0F, most));
    auto best = static_cast<std::uint8_t>(top);
    cost = 0;
    if (choice_ == WeightScale::max) return best;
    cost = std::numeric_limits<float>::max();
    const auto importance = importance_.subspan(begin, group.size());
    for (int m = top; m >= 1 && (m == top || static_cast<float>(m) >= kLeastOfGroup * wanted);
         --m) {
      const float here = rounding_cost(group, importance, static_cast<float>(m) * scale, high_);
      if (!(here < cost)) continue;
      cost = here;
      best = static_cast<std::uint8_t>(m);
    }
    return best;
  }

 private:
  const WeightFormat format_;
  const WeightScale choice_;
  const std::span<const float> importance_;  ///< [in]
  const int high_;
};

/// Everything but the codes, which are 0.
SymmetricCodes search_scales(MatrixView<const float> w, const WeightFormat& format,
                             const ScaleSearch& search, ThreadPool& pool) {
  const std::size_t out = w.rows(), in = w.cols();
  const bool grouped = format.granularity == WeightGranularity::group ||
                       format.granularity == WeightGranularity::multiplier;
  require(!grouped || format.group > 0, "a group has inputs");
  SymmetricCodes codes{{out, in}, format.bits, grouped ? format.group : 0, {}, {}};
  codes.codes.resize(out * in);
  if (format.granularity == WeightGranularity::tensor) {
    codes.scales = {search.scale(w, 0)};
    return codes;
  }
  const std::size_t groups = codes.groups();
  const bool multiplied = format.granularity == WeightGranularity::multiplier;
  codes.scales.resize(multiplied ? out : out * groups);
  if (multiplied) codes.multipliers.resize(out * groups);
  const std::size_t width = codes.group == 0 ? in : codes.group;
  pool.for_each_part(out, [&](std::size_t begin, std::size_t end) {
    for (std::size_t n = begin; n < end; ++n) {
      if (multiplied) {
        codes.scales[n] =
            search.scale(w.row(n), std::span(codes.multipliers).subspan(n * groups, groups));
        continue;
      }
      for (std::size_t g = 0; g < groups; ++g)
        codes.scales[n * groups + g] = search.scale(
            w.rows_from(n, 1).cols_from(g * width, std::min(width, in - g * width)), g * width);
    }
  });
  return codes;
}

/// The step of code [n, k]; with multipliers rounded once to float32.
float step_of(const SymmetricCodes& codes, std::size_t n, std::size_t k) {
  return static_cast<float>(codes.multiplier(n, k)) * codes.scale(n, k);
}

void round_to_nearest(MatrixView<const float> w, SymmetricCodes& codes, ThreadPool& pool) {
  const int high = highest_weight_code(codes.bits);
  const std::size_t in = w.cols();
  pool.for_each_part(w.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t n = begin; n < end; ++n)
      for (std::size_t k = 0; k < in; ++k)
        codes.codes[n * in + k] =
            static_cast<std::int8_t>(nearest_weight_code(w(n, k), step_of(codes, n, k), high));
  });
}

/// @param search  for groups in the order of the sweep: their scales or multipliers are chosen
/// again
///                when it reaches them, for the weights as they have been moved by then; or null
void round_compensated(MatrixView<const float> w, const Compensation& compensation,
                       const ScaleSearch* search, SymmetricCodes& codes, ThreadPool& pool) {
  constexpr std::size_t kBlock = 64;
  const int high = highest_weight_code(codes.bits);
  const std::size_t in = w.cols();
  const auto enter = [&](const SweepColumns& columns, std::size_t begin, std::size_t end,
                         const double* values) {
    if (search == nullptr) return;
    std::vector<float> group(end - begin);
    for (std::size_t i = 0; i < columns.outputs; ++i) {
      const std::size_t n = columns.first_output + i;
      for (std::size_t k = 0; k < group.size(); ++k)
        group[k] = static_cast<float>(values[k * kSweepOutputs + i]);
      const std::size_t place = n * codes.groups() + begin / codes.group;
      float cost = 0;
      if (codes.multipliers.empty())
        codes.scales[place] = search->scale({group.data(), 1, group.size()}, begin);
      else
        codes.multipliers[place] = search->multiplier(group, begin, codes.scales[n], cost);
    }
  };
  const auto round = [&](const SweepColumns& columns, std::size_t k, const double* values,
                         double* rounded) {
    for (std::size_t i = 0; i < columns.outputs; ++i) {
      const std::size_t n = columns.first_output + i;
      const auto code = static_cast<std::int8_t>(
          nearest_weight_code(static_cast<float>(values[i]), step_of(codes, n, k), high));
      codes.codes[n * in + k] = code;
      rounded[i] = static_cast<double>(code * codes.multiplier(n, k)) *
                   static_cast<double>(codes.scale(n, k));
    }
  };
  sweep_columns(compensation, w, search == nullptr ? kBlock : codes.group, enter, round, pool);
}

/// Second moments relative to their mean, so that costs stay far from the ends of float32.
std::vector<float> importance_of(const SecondMoment* moment, std::size_t in) {
  std::vector<float> importance(in, 1.0F);
  if (moment == nullptr) return importance;
  const MatrixView<const double> h = moment->sum();
  double sum = 0;
  for (std::size_t k = 0; k < in; ++k) sum += h(k, k);
  if (!(sum > 0)) return importance;
  for (std::size_t k = 0; k < in; ++k)
    importance[k] = static_cast<float>(h(k, k) / sum * static_cast<double>(in));
  return importance;
}

}  // namespace

const Compensation& compensation_of(const SecondMoment* moment,
                                    const WeightSearchOptions& options) {
  if (moment == nullptr)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .found = "no calibration rows",
          .expected = "rows of the site",
          .hint = "give a text with --calibration"},
         "GPTQ weighs errors by the rows of a site, and saw none");
  return moment->compensation(
      {.damping = static_cast<double>(options.damping) / 1000, .order = options.sweep_order});
}

SymmetricCodes search_weights(MatrixView<const float> w, const WeightFormat& format,
                              const WeightSearchOptions& options, const SecondMoment* moment,
                              ThreadPool& pool) {
  const bool compensated = options.weight_search == WeightSearch::gptq;
  const Compensation* compensation = compensated ? &compensation_of(moment, options) : nullptr;
  const std::vector<float> importance = importance_of(moment, w.cols());
  const ScaleSearch search(format, options.weight_scale, importance);
  SymmetricCodes codes = search_scales(w, format, search, pool);
  if (!compensated) {
    round_to_nearest(w, codes, pool);
    return codes;
  }
  const bool in_order = codes.group != 0 && options.sweep_order == SweepOrder::natural;
  round_compensated(w, *compensation, in_order ? &search : nullptr, codes, pool);
  return codes;
}

}  // namespace tender::quant
