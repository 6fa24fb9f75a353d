#include "quant/methods/tender/tender_modes.h"

#include <algorithm>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/methods/tender/tender_compat.h"
#include "quant/rotation/rotation.h"

namespace tender::quant {
namespace {

struct Measured {
  TenderInput input;
  double share = 0;
};

/// A mode with its share; up or down in static mode, whichever has the smaller one.
Measured measured(const TenderCalibration& seen, TenderOptions options, TenderMode mode,
                  const TenderSample& sample) {
  const bool both = mode == TenderMode::static_scales && options.rounding == TenderRounding::choose;
  if (both) options.rounding = TenderRounding::up;
  Measured best{tender_input_of(seen, options, mode), 0};
  best.share = tender_error_share(best.input, sample);
  if (!both) return best;
  options.rounding = TenderRounding::down;
  TenderInput down = tender_input_of(seen, options, mode);
  const double share = tender_error_share(down, sample);
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

/// Of the modes that may be taken, that of the least error among those of the least cost.
Measured cheapest(const TenderCalibration& seen, const TenderOptions& options,
                  const TenderSample& sample) {
  if (options.mode != TenderMode::automatic) return measured(seen, options, options.mode, sample);
  // Both are products of bytes, and rounding finds the largest element of a row in either.
  Measured site = measured(seen, options, TenderMode::static_scales, sample);
  Measured scaled = measured(seen, options, TenderMode::row_scaled, sample);
  return scaled.share < site.share ? std::move(scaled) : std::move(site);
}

/// Whether it may stay, or one-row has to be taken: of words, and no activations of fewer bits than
/// 8, since every element has an exponent.
bool suffices(const Measured& site, const TenderOptions& options) {
  return site.share <= options.error_share || options.activation_bits < 8 ||
         options.mode != TenderMode::automatic;
}

TenderInput of_one_basis(const TenderCalibration& seen, const TenderOptions& options,
                         const TenderSample& sample) {
  Measured site = cheapest(seen, options, sample);
  if (!suffices(site, options)) site = measured(seen, options, TenderMode::one_row, sample);
  return std::move(site.input);
}

/// Codes to nearest, whatever search finds the stored ones: how far apart two bases are shows.
std::vector<double> weight_errors(std::span<const MatrixView<const float>> weights,
                                  const TenderInput& input, const TenderOptions& options) {
  ThreadPool pool(1);
  WeightSearchOptions nearest = options.weights;
  nearest.weight_search = WeightSearch::rtn;
  std::vector<double> errors(input.in, 0);
  for (const MatrixView<const float>& w : weights) {
    Matrix back(w.rows(), w.cols());
    dequantize_symmetric(search_weights(w, tender_weight_format(input), nearest, nullptr, pool),
                         back.view());
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < w.cols(); ++k) {
        const double off = static_cast<double>(w(n, k)) - static_cast<double>(back(n, k));
        errors[k] += off * off;
      }
  }
  return errors;
}

/// What a site is measured on in one of the bases.
struct Basis {
  TenderOptions options;  ///< rotation none or hadamard
  std::vector<Matrix> rotated;
  std::vector<MatrixView<const float>> weights;
  TenderSample sample;

  Basis(const TenderOptions& given, TenderRotation rotation,
        std::span<const MatrixView<const float>> as_they_come)
      : options(given), weights(as_they_come.begin(), as_they_come.end()) {
    options.rotation = rotation;
    if (rotation == TenderRotation::none || weights.empty()) return;
    const Rotation turn(weights[0].cols());
    ThreadPool pool(1);
    for (MatrixView<const float>& w : weights)
      w = rotated.emplace_back(turn.rotated_weights(w, pool)).view();
  }
  double total(const TenderInput& input) const {
    return tender_total_share(input, sample, weight_errors(weights, input, options));
  }
};

TenderInput of_the_better_basis(const TenderCalibration& seen, const TenderOptions& options,
                                std::span<const MatrixView<const float>> weights) {
  Basis plain(options, TenderRotation::none, weights);
  Basis rotated(options, TenderRotation::hadamard, weights);
  plain.sample = tender_sample(seen.sample(), channel_costs(plain.weights));
  // The same rows and their energies, in the other basis.
  rotated.sample = {Rotation(seen.in()).rotated(plain.sample.rows.view()), plain.sample.positions,
                    channel_costs(rotated.weights), plain.sample.energy};
  Measured one = cheapest(seen, plain.options, plain.sample);
  Measured other = cheapest(seen, rotated.options, rotated.sample);
  const bool first = suffices(one, options), second = suffices(other, options);
  if (first != second) return first ? std::move(one.input) : std::move(other.input);
  if (!first) {
    one = measured(seen, plain.options, TenderMode::one_row, plain.sample);
    other = measured(seen, rotated.options, TenderMode::one_row, rotated.sample);
  }
  const bool turned = rotated.total(other.input) < plain.total(one.input);
  return turned ? std::move(other.input) : std::move(one.input);
}

/// The mean over the sample of what an error costs, over the energy of the row.
/// @param cost  of channel k: (k, x - bias, that rounded)
template <class Cost>
double mean_share(const TenderInput& input, const TenderSample& sample, const Cost& cost) {
  const RoundedRows rounded = rounded_rows(input, {sample.rows.view(), sample.positions});
  double total = 0;
  for (std::size_t m = 0; m < sample.rows.rows(); ++m) {
    const auto row = sample.rows.row(m);
    const auto bias = rounded.bias[m];
    double error = 0;
    for (std::size_t k = 0; k < input.in; ++k) {
      const double x = row[k];
      const double centred = bias.empty() ? x : x - static_cast<double>(bias[k]);
      error += cost(k, centred, static_cast<double>(rounded.values(m, k)));
    }
    if (sample.energy[m] > 0) total += error / sample.energy[m];
  }
  return total / static_cast<double>(std::max<std::size_t>(sample.rows.rows(), 1));
}

}  // namespace

TenderInput tender_input(const TenderCalibration& seen, const TenderOptions& options,
                         std::span<const MatrixView<const float>> weights) {
  if (!tender_measures(options)) return tender_input_of(seen, options, options.mode);
  if (seen.sample().rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .item = options.mode == TenderMode::automatic        ? "mode"
                  : options.rounding == TenderRounding::choose ? "rounding"
                                                               : "rotation",
          .hint = "calibrate with --calibration and these options, or name a mode, a rounding and "
                  "a rotation"},
         "modes auto, rounding choose and rotation auto measure on calibration rows, and none were "
         "kept");
  if (options.rotation == TenderRotation::automatic)
    return of_the_better_basis(seen, options, weights);
  const Basis basis(options, options.rotation, weights);
  return of_one_basis(seen, options, tender_sample(seen.sample(), channel_costs(basis.weights)));
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

TenderSample tender_sample(const RowSample& sample, std::vector<double> costs) {
  TenderSample measured{sample.values(), sample.positions(), std::move(costs), {}};
  for (std::size_t m = 0; m < measured.rows.rows(); ++m) {
    double energy = 0;
    for (std::size_t k = 0; k < measured.rows.cols(); ++k)
      energy += static_cast<double>(measured.rows(m, k)) *
                static_cast<double>(measured.rows(m, k)) * measured.costs[k];
    measured.energy.push_back(energy);
  }
  return measured;
}

double tender_error_share(const TenderInput& input, const TenderSample& sample) {
  return mean_share(input, sample, [&](std::size_t k, double x, double rounded) {
    return (x - rounded) * (x - rounded) * sample.costs[k];
  });
}

double tender_total_share(const TenderInput& input, const TenderSample& sample,
                          std::span<const double> weight_errors) {
  return mean_share(input, sample, [&](std::size_t k, double x, double rounded) {
    return (x - rounded) * (x - rounded) * sample.costs[k] + x * x * weight_errors[k];
  });
}

}  // namespace tender::quant
