#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "base/thread_pool.h"
#include "quant/formats/symmetric.h"
#include "quant/gptq/compensation.h"
#include "quant/second_moment.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// How the codes of weights are chosen under given scales.
enum class WeightSearch : std::uint8_t {
  rtn,   ///< each weight to the nearest code
  gptq,  ///< a column at a time, errors made up for by the columns that are left (gptq/)
};
inline constexpr std::array<std::string_view, 2> kWeightSearches = {"rtn", "gptq"};

/// How scales are chosen before that.
enum class WeightScale : std::uint8_t {
  max,  ///< so that the largest weight is the largest code
  mse,  ///< so that rounding to nearest costs least; large weights may be clipped
};
inline constexpr std::array<std::string_view, 2> kWeightScales = {"max", "mse"};

/// What pays with 4-bit weights where rows have 8 bits (docs/adr/0012-first-token.md); 0.8 is too
/// much already.
inline constexpr double kFirstRowShare = 0.05;
inline constexpr double kMostFirstRowShare = 0.9;

/// The options of weights that several methods share; bits and granularity are each method's.
struct WeightSearchOptions {
  WeightSearch weight_search = WeightSearch::rtn;
  WeightScale weight_scale = WeightScale::max;
  int damping = 10;
  double first_row_share = 0;
  SweepOrder sweep_order = SweepOrder::largest_first;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.choice("weight_search", self.weight_search, kWeightSearches,
                 "codes of weights: each the nearest, or errors made up for by the weights that "
                 "are still to be rounded (GPTQ). tender at 4 bits: gptq by default");
    visit.choice("weight_scale", self.weight_scale, kWeightScales,
                 "scales of weights: from the largest, or of the least squared error. tender at 4 "
                 "bits: mse by default");
    visit.integer("damping", self.damping, 1, 1000,
                  "with gptq: thousandths of the mean second moment added to each channel's");
    visit.real("first_row_share", self.first_row_share, 0, kMostFirstRowShare,
               "with gptq: what the first token of a window counts for in the second moment, as a "
               "share of its tokens; 0: as any other. tender at W4A8: 0.05 by default");
    visit.choice(
        "sweep_order", self.sweep_order, kSweepOrders,
        "with gptq: input channels as stored, scales or multipliers of groups chosen on the "
        "way; or by descending second moment, after all scales");
  }
};

/// What is stored of a layer's weights.
struct WeightFormat {
  int bits = 8;
  WeightGranularity granularity = WeightGranularity::channel;
  std::size_t group = 0;  ///< inputs per scale or multiplier, for those granularities
};

/// What a sweep with these options compensates by. @param moment  of the rows, or null
/// @throws Error invalid_input (Q_MOMENT; Q_CALIBRATION where there is no moment)
const Compensation& compensation_of(const SecondMoment* moment, const WeightSearchOptions& options);

/// Scales, multipliers and codes of a layer.
///
/// Scales are fixed before codes; but where gptq sweeps in natural order, the scales of groups, or
/// their multipliers, are chosen as the sweep reaches them. `max`: the largest |w| over the highest
/// code; the scale of an output with multipliers is that of its largest group over the highest
/// multiplier, and every group gets the smallest multiplier that clips nothing. `mse`: clipped by
/// 0, 2, … 50 % (multipliers: all that clip by less than 45 %, for scales 0 to 30 % smaller),
/// whatever gives the least sum of c_k (w - q)^2; c_k is the second moment of channel k where there
/// is one, else 1. Of equals, the one that clips least.
///
/// @param w       [out, in], finite
/// @param moment  of the rows, in the basis of w; null: c_k = 1
/// @throws Error invalid_input (Q_MOMENT; Q_CALIBRATION where gptq has no moment)
SymmetricCodes search_weights(MatrixView<const float> w, const WeightFormat& format,
                              const WeightSearchOptions& options, const SecondMoment* moment,
                              ThreadPool& pool);

}  // namespace tender::quant
