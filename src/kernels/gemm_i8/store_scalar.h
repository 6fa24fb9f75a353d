#pragma once

#include "kernels/gemm_i8/gemm_i8.h"

namespace tender::kernels {

/// Whether output n is wanted: pads are where sums themselves go out.
inline bool has_output(const GemmI8Job& job, std::size_t n) {
  return job.sums != nullptr || n < job.out;
}

/// What becomes of the sum of row m and output n, corrections taken off.
inline void store(const GemmI8Job& job, std::size_t m, std::size_t n, std::uint32_t sum) {
  const auto value = static_cast<std::int32_t>(sum);
  if (job.sums != nullptr) {
    job.sums[m * job.sums_stride + n] = value;
    return;
  }
  float y = static_cast<float>(value) * (job.scales[n] * job.steps[m]);
  if (job.addends != nullptr) y += job.addends[m][n];
  if (job.bias != nullptr) y += job.bias[n];
  job.y[m * job.y_stride + n] = y;
}

}  // namespace tender::kernels
