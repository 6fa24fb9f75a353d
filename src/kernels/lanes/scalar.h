#pragma once

// Sixteen float lanes in plain C++: the definition of what lanes/avx2.h and lanes/avx512.h do in
// registers. Each is included by files of its ISA only; the bodies of kernels (*_body.h) are
// written against these names and give the same bits with any of the three.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/lanes/exp_constants.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kLanes = 16;

struct F16 {
  float lane[kLanes];
};

template <class F>
inline F16 lanes_of(F value) {
  F16 r;
  for (std::size_t j = 0; j < kLanes; ++j) r.lane[j] = value(j);
  return r;
}

inline F16 set1(float x) {
  return lanes_of([&](std::size_t) { return x; });
}
inline F16 zero() { return set1(0.0F); }
inline F16 load(const float* p) {
  return lanes_of([&](std::size_t j) { return p[j]; });
}
/// The first n lanes, the others +0.
inline F16 load_first(const float* p, std::size_t n) {
  return lanes_of([&](std::size_t j) { return j < n ? p[j] : 0.0F; });
}
inline void store_first(float* p, F16 a, std::size_t n) {
  for (std::size_t j = 0; j < n; ++j) p[j] = a.lane[j];
}
inline void store(float* p, F16 a) { store_first(p, a, kLanes); }

inline F16 add(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] + b.lane[j]; });
}
inline F16 sub(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] - b.lane[j]; });
}
inline F16 mul(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] * b.lane[j]; });
}
inline F16 div(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] / b.lane[j]; });
}
/// a * b + c, rounded once.
inline F16 fma(F16 a, F16 b, F16 c) {
  return lanes_of([&](std::size_t j) { return std::fma(a.lane[j], b.lane[j], c.lane[j]); });
}
/// The second where either is NaN or both are zeros, as the instruction does.
inline F16 max(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] > b.lane[j] ? a.lane[j] : b.lane[j]; });
}
inline F16 min(F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return a.lane[j] < b.lane[j] ? a.lane[j] : b.lane[j]; });
}
/// Lanes [begin, end) of a, elsewhere those of b.
inline F16 select(std::size_t begin, std::size_t end, F16 a, F16 b) {
  return lanes_of([&](std::size_t j) { return begin <= j && j < end ? a.lane[j] : b.lane[j]; });
}
/// a * 2^n, n the integer in the low bits of `shifted` = n + kExpRounder.
inline F16 scale_by_power(F16 a, F16 shifted) {
  return lanes_of([&](std::size_t j) {
    const auto n = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted.lane[j]) -
                                             std::bit_cast<std::uint32_t>(kExpRounder));
    const std::int32_t half = n >> 1;
    const float first = std::bit_cast<float>((static_cast<std::uint32_t>(half) + 127U) << 23U);
    const float second = std::bit_cast<float>((static_cast<std::uint32_t>(n - half) + 127U) << 23U);
    return a.lane[j] * first * second;
  });
}

/// Sum of the lanes by halves: j and j + 8, then j and j + 4, j + 2, j + 1.
inline float sum_of_lanes(F16 a) {
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) a.lane[j] = a.lane[j] + a.lane[j + half];
  return a.lane[0];
}
inline float max_of_lanes(F16 a) {
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j)
      a.lane[j] = a.lane[j] > a.lane[j + half] ? a.lane[j] : a.lane[j + half];
  return a.lane[0];
}

}  // namespace
}  // namespace tender::kernels
