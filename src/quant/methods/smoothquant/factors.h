#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "tensor/matrix.h"

namespace tender::quant {

/// What smoothing knows of the channels of a site.
struct ChannelReach {
  std::vector<float> rows;     ///< [in], largest |x| that calibration saw
  std::vector<float> weights;  ///< [in], largest |w| over the outputs of all layers
};

/// [in], largest |w[n][k]| over the outputs of all layers.
std::vector<float> weight_reach(std::span<const MatrixView<const float>> weights);

/// How far reach moves from rows to weights: alpha of the paper in percent, or kNoSmoothing.
constexpr int kNoSmoothing = -1;

/// s[k] = rows[k]^alpha / weights[k]^(1 - alpha), 1 where either is below 2^-80, within
/// 2^±kMostExponent and such that weights[k] s[k] is at most 2^120; with powers_of_two the nearest
/// power of two by its logarithm (halves up).
/// @return [in], each finite and above 0
std::vector<float> smoothing_factors(const ChannelReach& reach, int alpha_percent,
                                     bool powers_of_two);
constexpr int kMostExponent = 40;

/// w[n][k] * s[k], rounded once.
void scale_columns(MatrixView<const float> w, std::span<const float> factors,
                   MatrixView<float> out);

}  // namespace tender::quant
