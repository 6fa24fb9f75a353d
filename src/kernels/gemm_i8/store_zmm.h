#pragma once

#include <immintrin.h>

#include "kernels/gemm_i8/gemm_i8.h"

// For the ISA files alone: each gets a copy of its own, compiled with its own flags.
namespace tender::kernels {
namespace {

inline void store(const GemmI8Job& job, std::size_t m, std::size_t n, __m512i sum) {
  if (job.corrections != nullptr)
    sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(job.corrections[m]));
  if (job.sums != nullptr) {
    _mm512_storeu_si512(job.sums + m * job.sums_stride + n, sum);
    return;
  }
  const std::size_t left = job.out - n;
  const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffffU : (1U << left) - 1U);
  const __m512 scale = _mm512_mul_ps(_mm512_loadu_ps(job.scales + n), _mm512_set1_ps(job.steps[m]));
  __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
  if (job.addends != nullptr) y = _mm512_add_ps(y, _mm512_loadu_ps(job.addends[m] + n));
  if (job.bias != nullptr) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, job.bias + n));
  _mm512_mask_storeu_ps(job.y + m * job.y_stride + n, mask, y);
}

}  // namespace
}  // namespace tender::kernels
