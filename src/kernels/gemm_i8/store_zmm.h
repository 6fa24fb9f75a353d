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

/// The same of `panels` of each row. @param sums  [rows, panels]
[[gnu::noinline]] inline void store_edge(const GemmI8Job& job, std::size_t row, std::size_t rows,
                                         std::size_t panel, std::size_t panels,
                                         const __m512i* sums) {
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t p = 0; p < panels; ++p)
      store(job, row + r, (panel + p) * 16, sums[r * panels + p]);
}

/// The same of a tile whose sums are in registers, where they stay: loops are unrolled, and what
/// all rows share is read once.
template <std::size_t Rows, std::size_t Panels>
[[gnu::always_inline]] inline void store_tile(const GemmI8Job& job, std::size_t row,
                                              std::size_t panel,
                                              const __m512i (&sum)[Rows][Panels]) {
  const std::size_t n = panel * 16;
  if (job.sums != nullptr || n + Panels * 16 > job.out) {
    __m512i sums[Rows * Panels];
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (std::size_t p = 0; p < Panels; ++p) sums[r * Panels + p] = sum[r][p];
    return store_edge(job, row, Rows, panel, Panels, sums);
  }
  __m512 scale[Panels];
#pragma GCC unroll 8
  for (std::size_t p = 0; p < Panels; ++p) scale[p] = _mm512_loadu_ps(job.scales + n + p * 16);
  const auto finish = [&](const auto& add_up) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      const __m512i correction = job.corrections == nullptr
                                     ? _mm512_setzero_si512()
                                     : _mm512_set1_epi32(job.corrections[row + r]);
      const __m512 step = _mm512_set1_ps(job.steps[row + r]);
      float* y = job.y + (row + r) * job.y_stride + n;
#pragma GCC unroll 8
      for (std::size_t p = 0; p < Panels; ++p) {
        const __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum[r][p], correction));
        _mm512_storeu_ps(y + p * 16, add_up(_mm512_mul_ps(exact, _mm512_mul_ps(scale[p], step)),
                                            row + r, n + p * 16));
      }
    }
  };
  if (job.addends == nullptr && job.bias == nullptr)
    return finish([](__m512 y, std::size_t, std::size_t) { return y; });
  finish([&](__m512 y, std::size_t m, std::size_t at) {
    if (job.addends != nullptr) y = _mm512_add_ps(y, _mm512_loadu_ps(job.addends[m] + at));
    if (job.bias != nullptr) y = _mm512_add_ps(y, _mm512_loadu_ps(job.bias + at));
    return y;
  });
}

}  // namespace
}  // namespace tender::kernels
