#pragma once

// The body of hadamard_avx2.cc and hadamard_avx512.cc, included after lanes/*.h and
// butterflies_of(), which runs the stages h = 1, 2, 4, 8 on sixteen lanes. A product by 1 or -1 is
// exact, so that a fused multiply-add is the addition of the definition.

#include <cstddef>

#include "kernels/hadamard/hadamard.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kMixed = 4;  // divides every order but 1

/// Stages up to h = 8 as the row is read, the others in t.
inline void rotate_powers(const HadamardJob& job, const float* x, const float* signs, float* t) {
  const std::size_t size = job.order * job.power;
  for (std::size_t i = 0; i < size; i += kLanes)
    store(t + i, butterflies_of(mul(load(x + i), load(signs + i))));
  for (std::size_t h = kLanes; h < job.power; h *= 2)
    for (std::size_t i = 0; i < size; i += 2 * h)
      for (std::size_t j = i; j < i + h; j += kLanes) {
        const F16 low = load(t + j), high = load(t + j + h);
        store(t + j, add(low, high));
        store(t + j + h, sub(low, high));
      }
}

/// Outputs [b, b + kMixed) of every column of sixteen: bound by the reads of mix.
inline void mix_rows(const HadamardJob& job, std::size_t b, const float* t, float* y) {
  const float* mix = job.mix + b * job.order;
  const F16 scale = set1(job.scale);
  for (std::size_t j = 0; j < job.power; j += kLanes) {
    F16 sum[kMixed];
    for (std::size_t i = 0; i < kMixed; ++i) sum[i] = load(t + j);
    for (std::size_t a = 1; a < job.order; ++a) {
      const F16 value = load(t + a * job.power + j);
      for (std::size_t i = 0; i < kMixed; ++i)
        sum[i] = fma(set1(mix[i * job.order + a]), value, sum[i]);
    }
    for (std::size_t i = 0; i < kMixed; ++i) store(y + (b + i) * job.power + j, mul(sum[i], scale));
  }
}

inline void rotate_row(const HadamardJob& job, const float* x, float* t, float* y) {
  if (job.power < kLanes) return isa::rotate_row_scalar(job, x, t, y);
  const std::size_t size = job.order * job.power;
  for (std::size_t at = 0; at < job.blocks * size; at += size) {
    rotate_powers(job, x + at, job.signs + at, t);
    if (job.order == 1) {
      for (std::size_t j = 0; j < size; j += kLanes)
        store(y + at + j, mul(load(t + j), set1(job.scale)));
      continue;
    }
    for (std::size_t b = 0; b < job.order; b += kMixed) mix_rows(job, b, t, y + at);
  }
}

}  // namespace
}  // namespace tender::kernels
