#pragma once

#include <immintrin.h>

#include "kernels/gemm_i8/gemm_i8.h"

// For the ISA files alone: each gets a copy of its own, compiled with its own flags.
namespace tender::kernels {
namespace {

/// All ones in the lanes below `left`.
inline __m256i lanes_below(std::size_t left) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left < 8 ? left : 8)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline void store(const GemmI8Job& job, std::size_t m, std::size_t n, __m256i sum) {
  if (job.corrections != nullptr)
    sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(job.corrections[m]));
  if (job.sums != nullptr) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(job.sums + m * job.sums_stride + n), sum);
    return;
  }
  if (n >= job.out) return;
  const __m256i mask = lanes_below(job.out - n);
  const __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(job.scales + n), _mm256_set1_ps(job.steps[m]));
  __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
  if (job.addends != nullptr) y = _mm256_add_ps(y, _mm256_loadu_ps(job.addends[m] + n));
  if (job.bias != nullptr) y = _mm256_add_ps(y, _mm256_maskload_ps(job.bias + n, mask));
  _mm256_maskstore_ps(job.y + m * job.y_stride + n, mask, y);
}

}  // namespace
}  // namespace tender::kernels
