#pragma once

// Sixteen float lanes in one zmm register; see lanes/scalar.h for what each does. Only for
// *_avx512.cc.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/lanes/exp_constants.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kLanes = 16;
// A tile of the small product (tile_body.h): 8 rows and 3 columns are 24 of 32 registers.
constexpr int kTileRegisters = 32;
constexpr int kTileRows = 8;

struct F16 {
  __m512 all;
};

/// Lanes j < n.
inline __mmask16 first(std::size_t n) { return static_cast<__mmask16>((1U << n) - 1U); }

inline F16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline F16 zero() { return {_mm512_setzero_ps()}; }
inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F16 load_first(const float* p, std::size_t n) {
  return {_mm512_maskz_loadu_ps(first(n), p)};
}
inline void store_first(float* p, F16 a, std::size_t n) {
  _mm512_mask_storeu_ps(p, first(n), a.all);
}
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.all); }

inline F16 add(F16 a, F16 b) { return {_mm512_add_ps(a.all, b.all)}; }
inline F16 sub(F16 a, F16 b) { return {_mm512_sub_ps(a.all, b.all)}; }
inline F16 mul(F16 a, F16 b) { return {_mm512_mul_ps(a.all, b.all)}; }
inline F16 div(F16 a, F16 b) { return {_mm512_div_ps(a.all, b.all)}; }
inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.all, b.all, c.all)}; }
inline F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.all, b.all)}; }
inline F16 min(F16 a, F16 b) { return {_mm512_min_ps(a.all, b.all)}; }
inline F16 select(std::size_t begin, std::size_t end, F16 a, F16 b) {
  const auto lanes = static_cast<__mmask16>(first(end) & ~first(begin));
  return {_mm512_mask_blend_ps(lanes, b.all, a.all)};
}
/// One rounding, as in the two products of lanes/scalar.h of which only the second can round.
inline F16 scale_by_power(F16 a, F16 shifted) {
  return {_mm512_scalef_ps(a.all, _mm512_sub_ps(shifted.all, _mm512_set1_ps(kExpRounder)))};
}

inline float sum_of_lanes(F16 a) {
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(a.all), _mm512_extractf32x8_ps(a.all, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float max_of_lanes(F16 a) {
  const __m256 eight =
      _mm256_max_ps(_mm512_castps512_ps256(a.all), _mm512_extractf32x8_ps(a.all, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
}  // namespace tender::kernels
