#pragma once

// The body of hadamard_avx2.cc and hadamard_avx512.cc, included after lanes/*.h, lanes/tile_body.h
// and butterflies_of(), which runs the stages h = 1, 2, 4, 8 on sixteen lanes. A product by 1 or -1
// is exact, so that a fused multiply-add is the addition of the definition.

#include <cstddef>

#include "kernels/hadamard/hadamard.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kSmallestOrder = 4;  // divides every order but 1
// Outputs that share a read of t: as many chains of additions as hide their latency.
constexpr int kMixed = kTileRegisters < 16 ? 4 : 12;

inline void butterfly(F16& low, F16& high) {
  const F16 first = low;
  low = add(first, high);
  high = sub(first, high);
}

/// The stages h and 2 h of four columns that are h apart.
inline void two_stages(F16 a, F16 b, F16 c, F16 d, float* t, std::size_t h) {
  butterfly(a, b);
  butterfly(c, d);
  butterfly(a, c);
  butterfly(b, d);
  store(t, a);
  store(t + h, b);
  store(t + 2 * h, c);
  store(t + 3 * h, d);
}

/// Stages up to h = 8, or to 32 where there are as many, as the row is read, the others in t.
inline void rotate_powers(const HadamardJob& job, const float* x, const float* signs, float* t) {
  const std::size_t size = job.order * job.power;
  const auto read = [&](std::size_t i) {
    return butterflies_of(mul(load(x + i), load(signs + i)));
  };
  std::size_t h = kLanes;
  if (job.power >= 4 * kLanes) {
    for (std::size_t i = 0; i < size; i += 4 * kLanes)
      two_stages(read(i), read(i + kLanes), read(i + 2 * kLanes), read(i + 3 * kLanes), t + i,
                 kLanes);
    h = 4 * kLanes;
  } else {
    for (std::size_t i = 0; i < size; i += kLanes) store(t + i, read(i));
  }
  for (; 4 * h <= job.power; h *= 4)
    for (std::size_t i = 0; i < size; i += 4 * h)
      for (std::size_t j = i; j < i + h; j += kLanes)
        two_stages(load(t + j), load(t + j + h), load(t + j + 2 * h), load(t + j + 3 * h), t + j,
                   h);
  for (; h < job.power; h *= 2)
    for (std::size_t i = 0; i < size; i += 2 * h)
      for (std::size_t j = i; j < i + h; j += kLanes) {
        F16 low = load(t + j), high = load(t + j + h);
        butterfly(low, high);
        store(t + j, low);
        store(t + j + h, high);
      }
}

template <int R>
[[gnu::always_inline]] inline void start_rows(Tile<R, 1>& tile, F16 value) {
  if constexpr (R > 0) {
    start_rows<R - 1>(tile.head, value);
    tile.last.last = value;
  }
}
template <int R>
[[gnu::always_inline]] inline void scale_rows(const Tile<R, 1>& tile, F16 scale, float* y,
                                              std::size_t step) {
  if constexpr (R > 0) {
    scale_rows<R - 1>(tile.head, scale, y, step);
    store(y + (R - 1) * step, mul(tile.last.last, scale));
  }
}

/// Outputs [b, b + R) of every column of sixteen.
template <int R>
void mix_rows(const HadamardJob& job, std::size_t b, const float* t, float* y) {
  const float* mix = job.mix + b;
  const std::size_t order = job.order, power = job.power;
  for (std::size_t j = 0; j < power; j += kLanes) {
    Tile<R, 1> sums;
    start_rows<R>(sums, load(t + j));
    for (std::size_t a = 1; a < order; ++a) {
      TileRow<1> value;
      load_row<1>(value, t + a * power + j, 0);
      fma_tile<R, 1>(sums, mix + a * order, 1, value);
    }
    scale_rows<R>(sums, set1(job.scale), y + b * power + j, power);
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
    std::size_t b = 0;
    for (; b + kMixed <= job.order; b += kMixed) mix_rows<kMixed>(job, b, t, y + at);
    for (; b < job.order; b += kSmallestOrder) mix_rows<kSmallestOrder>(job, b, t, y + at);
  }
}

}  // namespace
}  // namespace tender::kernels
