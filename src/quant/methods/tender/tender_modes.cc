#include "quant/methods/tender/tender_modes.h"

#include <algorithm>
#include <array>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/row_rounding.h"

namespace tender::quant {
namespace {

// Cheapest first: bytes and no statistics, bytes and one maximum per row, words.
constexpr std::array kByCost = {TenderMode::static_scales, TenderMode::row_scaled,
                                TenderMode::one_row};

TenderInput cheapest(const TenderCalibration& seen, const TenderOptions& options,
                     std::span<const MatrixView<const float>> weights) {
  if (seen.sample().rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .item = "mode",
          .hint = "calibrate with --calibration and mode auto, or name a mode"},
         "mode auto measures on calibration rows, and none were kept");
  const std::vector<double> costs = channel_costs(weights);
  TenderInput input;
  for (const TenderMode mode : kByCost) {
    input = tender_input_of(seen, options, mode);
    if (tender_error_share(input, seen.sample(), costs) <= options.error_share) break;
  }
  return input;
}

}  // namespace

TenderInput tender_input(const TenderCalibration& seen, const TenderOptions& options,
                         std::span<const MatrixView<const float>> weights) {
  if (options.mode == TenderMode::automatic) return cheapest(seen, options, weights);
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
  const RowRounding rounding = tender_rounding(input);
  std::vector<std::int16_t> codes(input.in);
  std::vector<float> rounded(input.in);
  const Matrix rows = sample.values();
  const std::vector<std::int32_t> positions = sample.positions();
  double total = 0;
  for (std::size_t m = 0; m < rows.rows(); ++m) {
    const auto row = rows.row(m);
    const RoundedRow code = round_row(rounding, row, positions[m], codes);
    expand_row(rounding, code, codes, rounded);
    const auto& bias = rounding.chunks[code.chunk].bias;
    double error = 0, energy = 0;
    for (std::size_t k = 0; k < input.in; ++k) {
      const double x = row[k];
      const double centred = bias.empty() ? x : x - static_cast<double>(bias[k]);
      const double off = centred - static_cast<double>(rounded[k]);
      error += off * off * costs[k];
      energy += x * x * costs[k];
    }
    if (energy > 0) total += error / energy;
  }
  return total / static_cast<double>(std::max<std::size_t>(rows.rows(), 1));
}

}  // namespace tender::quant
