#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/methods/tender/tender_calibration.h"
#include "quant/methods/tender/tender_rows.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// Whether sample rows decide something.
inline bool tender_measures(const TenderOptions& options) {
  return options.mode == TenderMode::automatic || options.rounding == TenderRounding::choose ||
         options.rotation == TenderRotation::automatic;
}

/// How rows are rounded: bias, TMax and groups from what was seen.
///
/// Static and row-scaled cost the same, one-row twice as much: mode auto takes that of the first
/// two which has the smaller tender_error_share() (static where they are equal) if it is at most
/// options.error_share or activations have fewer bits than 8, which one-row has not, else one-row.
/// With rounding choose, static is that of up and down which has the smaller share; up where they
/// are equal. Rotation auto does the same in both bases: of those in which one-row is not needed
/// (of both where it is in both) it takes the one where rows and weights together err less,
/// tender_total_share(); as they come where they are equal.
///
/// @param weights  one [out, in] per layer of the site, as they come
/// @throws Error invalid_input (Q_CALIBRATION) if nothing was seen that the mode needs
TenderInput tender_input(const TenderCalibration& seen, const TenderOptions& options,
                         std::span<const MatrixView<const float>> weights);

/// What an error of each channel costs: c[k] = sum over the outputs n of all layers of W[n, k]^2.
std::vector<double> channel_costs(std::span<const MatrixView<const float>> weights);

/// What errors are measured on: rows in the basis in which they are rounded.
struct TenderSample {
  Matrix rows;                          ///< [m, in]
  std::vector<std::int32_t> positions;  ///< [m]
  std::vector<double> costs;            ///< [in], channel_costs() in the same basis
  std::vector<double> energy;           ///< [m], see tender_error_share()
};
/// With energies of these very rows.
TenderSample tender_sample(const RowSample& sample, std::vector<double> costs);

/// The share of the energy of a site's outputs that rounding its rows takes, channels taken as
/// independent: the mean over the rows x of
///
///     (sum over k of e[k]^2 c[k]) / energy,   energy = sum over k of x[k]^2 c[k]
///
/// where e = (x - bias) - rounded(x - bias). Where two bases are compared, the energy is that of
/// the rows as they come in both. A mean over rows, each relative to its own energy, so that a
/// massive row does not hide the others. Rows without energy count 0.
double tender_error_share(const TenderInput& input, const TenderSample& sample);

/// The same of rows and weights together, which are independent as well:
///
///     (sum over k of e[k]^2 c[k] + (x[k] - bias[k])^2 d[k]) / energy
///
/// @param weight_errors  [in], d[k] = sum over the outputs n of all layers of
///                       (W[n, k] - quantized W[n, k])^2
double tender_total_share(const TenderInput& input, const TenderSample& sample,
                          std::span<const double> weight_errors);

}  // namespace tender::quant
