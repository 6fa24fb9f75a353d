#include "quant/methods/tender/tender_modes.h"

#include <algorithm>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/methods/tender/tender_compat.h"

namespace tender::quant {
namespace {

struct Measured {
  TenderInput input;
  double share = 0;
};

/// A mode with its share; up or down in static mode, whichever has the smaller one.
Measured measured(const TenderCalibration& seen, TenderOptions options, TenderMode mode,
                  std::span<const double> costs) {
  const auto share_of = [&](const TenderInput& input) {
    return tender_error_share(input, seen.sample(), costs);
  };
  const bool both = mode == TenderMode::static_scales && options.rounding == TenderRounding::choose;
  if (both) options.rounding = TenderRounding::up;
  Measured best{tender_input_of(seen, options, mode), 0};
  best.share = share_of(best.input);
  if (!both) return best;
  options.rounding = TenderRounding::down;
  TenderInput down = tender_input_of(seen, options, mode);
  const double share = share_of(down);
  if (share < best.share) best = {std::move(down), share};
  return best;
}

struct RoundedRows {
  Matrix values;                             ///< [rows, in], the bias not added back
  std::vector<std::span<const float>> bias;  ///< of each row: [in], or empty
};

RoundedRows rounded_rows(const TenderInput& input, const Rows& x) {
  ThreadPool pool(1);
  RoundedRows rounded;
  const auto bias_of = [&](std::size_t chunk) {
    return input.bias.empty() ? std::span<const float>()
                              : std::span(input.bias).subspan(chunk * input.in, input.in);
  };
  if (input.compat) {
    CompatRounded compat = compat_rounded(input, x, pool);
    for (const std::uint32_t chunk : compat.chunk) rounded.bias.push_back(bias_of(chunk));
    rounded.values = std::move(compat.values);
    return rounded;
  }
  const RowRounding rounding = tender_rounding(input);
  rounded.values = Matrix(x.values.rows(), input.in);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
    expand_row(rounding, row, codes, rounded.values.row(m));
    rounded.bias.push_back(bias_of(row.chunk));
  }
  return rounded;
}

TenderInput chosen_by_rows(const TenderCalibration& seen, const TenderOptions& options,
                           std::span<const MatrixView<const float>> weights) {
  if (seen.sample().rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .item = options.mode == TenderMode::automatic ? "mode" : "rounding",
          .hint = "calibrate with --calibration and these options, or name a mode and a rounding"},
         "mode auto and rounding choose measure on calibration rows, and none were kept");
  const std::vector<double> costs = channel_costs(weights);
  if (options.mode != TenderMode::automatic)
    return measured(seen, options, options.mode, costs).input;
  // Both are products of bytes, and rounding finds the largest element of a row in either.
  Measured site = measured(seen, options, TenderMode::static_scales, costs);
  Measured scaled = measured(seen, options, TenderMode::row_scaled, costs);
  if (scaled.share < site.share) site = std::move(scaled);
  // Of words, and no activations of 4 bits: every element has an exponent.
  if (site.share > options.error_share && options.activation_bits > 4)
    site = measured(seen, options, TenderMode::one_row, costs);
  return std::move(site.input);
}

}  // namespace

TenderInput tender_input(const TenderCalibration& seen, const TenderOptions& options,
                         std::span<const MatrixView<const float>> weights) {
  if (tender_measures(options)) return chosen_by_rows(seen, options, weights);
  return tender_input_of(seen, options, options.mode);
}

std::vector<double> channel_costs(std::span<const MatrixView<const float>> weights) {
  require(!weights.empty(), "a site has layers");
  std::vector<double> costs(weights[0].cols(), 0);
  for (const MatrixView<const float>& w : weights)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      const auto row = w.row(n);
      for (std::size_t k = 0; k < row.size(); ++k)
        costs[k] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
    }
  return costs;
}

double tender_error_share(const TenderInput& input, const RowSample& sample,
                          std::span<const double> costs) {
  const Matrix rows = sample.values();
  const std::vector<std::int32_t> positions = sample.positions();
  const RoundedRows rounded = rounded_rows(input, {rows.view(), positions});
  double total = 0;
  for (std::size_t m = 0; m < rows.rows(); ++m) {
    const auto row = rows.row(m);
    const auto bias = rounded.bias[m];
    double error = 0, energy = 0;
    for (std::size_t k = 0; k < input.in; ++k) {
      const double x = row[k];
      const double centred = bias.empty() ? x : x - static_cast<double>(bias[k]);
      const double off = centred - static_cast<double>(rounded.values(m, k));
      error += off * off * costs[k];
      energy += x * x * costs[k];
    }
    if (energy > 0) total += error / energy;
  }
  return total / static_cast<double>(std::max<std::size_t>(rows.rows(), 1));
}

}  // namespace tender::quant
