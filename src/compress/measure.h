#pragma once

#include <cstddef>
#include <optional>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "compress/calibration.h"
#include "quant/packed_site.h"
#include "tensor/matrix.h"

namespace tender::compress {

/// |W - dequantized| / |W| by Frobenius norms, in double, rows in order; 0 for weights that are all
/// zero.
/// @param w  [out, in], what was quantized
double relative_error(const quant::PackedSite& site, std::size_t linear, MatrixView<const float> w);

/// Signal to quantization noise of one layer's outputs on the sample rows, in dB: 10 log10(sum y² /
/// sum (y - ŷ)²), y in double from the float weights. Rounded to 0.01 dB; nothing without rows or
/// without noise.
/// @param got  [rows, out], what the packed layer gave
std::optional<double> output_sqnr(const SampleRows& sample, MatrixView<const float> w,
                                  MatrixView<const float> got);

}  // namespace tender::compress
