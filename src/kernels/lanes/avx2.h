#pragma once

// Sixteen float lanes in two ymm registers; see lanes/scalar.h for what each does. Only for
// *_avx2.cc.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/lanes/exp_constants.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kLanes = 16;
// A tile of the small product (tile_body.h) in pairs of the 16 registers: 6 rows and 1 column
// are 12.
constexpr int kTileRegisters = 8;
constexpr int kTileRows = 6;

struct F16 {
  __m256 low;
  __m256 high;
};

// 16 ones between zeros: an unaligned load gives the mask of any range of lanes.
alignas(64) constexpr std::int32_t kOnes[48] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0,  0};

/// Lanes j < n.
struct Mask {
  __m256i low;
  __m256i high;
};
inline Mask first(std::size_t n) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes + 32 - n)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes + 40 - n))};
}

inline F16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F16 load_first(const float* p, std::size_t n) {
  const Mask mask = first(n);
  return {_mm256_maskload_ps(p, mask.low), _mm256_maskload_ps(p + 8, mask.high)};
}
inline void store_first(float* p, F16 a, std::size_t n) {
  const Mask mask = first(n);
  _mm256_maskstore_ps(p, mask.low, a.low);
  _mm256_maskstore_ps(p + 8, mask.high, a.high);
}
inline void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}

inline F16 add(F16 a, F16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline F16 sub(F16 a, F16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline F16 mul(F16 a, F16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline F16 div(F16 a, F16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline F16 max(F16 a, F16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline F16 min(F16 a, F16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline F16 select(std::size_t begin, std::size_t end, F16 a, F16 b) {
  const Mask inner = first(begin), outer = first(end);
  const __m256i low = _mm256_andnot_si256(inner.low, outer.low);
  const __m256i high = _mm256_andnot_si256(inner.high, outer.high);
  return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(low)),
          _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(high))};
}

inline __m256 scale_by_power(__m256 a, __m256 shifted) {
  const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(shifted),
                                     _mm256_castps_si256(_mm256_set1_ps(kExpRounder)));
  const __m256i half = _mm256_srai_epi32(n, 1), bias = _mm256_set1_epi32(127);
  const __m256i first_power = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i second_power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(first_power)),
                       _mm256_castsi256_ps(second_power));
}
inline F16 scale_by_power(F16 a, F16 shifted) {
  return {scale_by_power(a.low, shifted.low), scale_by_power(a.high, shifted.high)};
}

inline float sum_of_lanes(F16 a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float max_of_lanes(F16 a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
}  // namespace tender::kernels
