#pragma once

// The body of hadamard_avx2.cc and hadamard_avx512.cc, included after lanes/*.h, lanes/tile_body.h
// and butterflies_of(), which runs the stages h = 1, 2, 4, 8 on sixteen lanes. A product by 1 or -1
// is exact, so that a fused multiply-add is the addition of the definition.

#include <cstddef>

#include "kernels/hadamard/conference.h"
#include "kernels/hadamard/hadamard.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kSmallestOrder = 4;  // divides every order but 1
// Outputs that share a read of t: as many chains of additions as hide their latency.
constexpr int kMixed = kTileRegisters < 16 ? 4 : 12;
// Pairs of outputs likewise.
constexpr std::size_t kPairsMixed = kTileRegisters < 16 ? 3 : 6;

inline void butterfly(F16& low, F16& high) {
  const F16 first = low;
  low = add(first, high);
  high = sub(first, high);
}

/// The stages h and 2 h of four columns that are h apart.
inline void butterflies(F16& a, F16& b, F16& c, F16& d) {
  butterfly(a, b);
  butterfly(c, d);
  butterfly(a, c);
  butterfly(b, d);
}
inline void two_stages(F16 a, F16 b, F16 c, F16 d, float* t, std::size_t h) {
  butterflies(a, b, c, d);
  store(t, a);
  store(t + h, b);
  store(t + 2 * h, c);
  store(t + 3 * h, d);
}

/// Stages up to h = 8, or to 32 or 64 where there are as many, as the row is read, the others in t.
inline void rotate_powers(const HadamardJob& job, const float* x, const float* signs, float* t) {
  const std::size_t size = job.order * job.power;
  const auto read = [&](std::size_t i) {
    return butterflies_of(mul(load(x + i), load(signs + i)));
  };
  std::size_t h = kLanes;
  if (job.power >= 8 * kLanes) {
    for (std::size_t i = 0; i < size; i += 8 * kLanes) {
      F16 a = read(i), b = read(i + kLanes), c = read(i + 2 * kLanes), d = read(i + 3 * kLanes);
      butterflies(a, b, c, d);
      const std::size_t u = i + 4 * kLanes;
      F16 e = read(u), f = read(u + kLanes), g = read(u + 2 * kLanes), k = read(u + 3 * kLanes);
      butterflies(e, f, g, k);
      butterfly(a, e);
      butterfly(b, f);
      butterfly(c, g);
      butterfly(d, k);
      store(t + i, a);
      store(t + i + kLanes, b);
      store(t + i + 2 * kLanes, c);
      store(t + i + 3 * kLanes, d);
      store(t + u, e);
      store(t + u + kLanes, f);
      store(t + u + 2 * kLanes, g);
      store(t + u + 3 * kLanes, k);
    }
    h = 8 * kLanes;
  } else if (job.power >= 4 * kLanes) {
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

/// Outputs of the pairs [K, K + R), sixteen columns. Half of the additions are multiply-adds by 1
/// or -1, which other units do. @param pairs  [P, 2, lanes]: s_i, d_i
template <std::size_t P, std::size_t K, std::size_t R>
void mix_some_pairs(const HadamardJob& job, const float* pairs, float* y) {
  constexpr Conference<P> kConference;
  const F16 one = set1(1), minus_one = set1(-1);
  F16 even[R], odd[R];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < R; ++r) {
    even[r] = load(pairs + ((K + r) * 2 + 1) * kLanes);
    odd[r] = mul(load(pairs + (K + r) * 2 * kLanes), minus_one);
  }
#pragma GCC unroll 18
  for (std::size_t i = 0; i < P; ++i) {
    const F16 s = load(pairs + i * 2 * kLanes), d = load(pairs + (i * 2 + 1) * kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r) {
      if (i == K + r) continue;
      const bool plus = kConference.at[i][K + r] > 0;
      even[r] = fma(plus ? one : minus_one, s, even[r]);
      odd[r] = plus ? add(odd[r], d) : sub(odd[r], d);
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < R; ++r) {
    const std::size_t first = 2 * (K + r), second = first + 1;
    store(y + job.outputs[first] * job.power, mul(even[r], set1(job.output_scales[first])));
    store(y + job.outputs[second] * job.power, mul(odd[r], set1(job.output_scales[second])));
  }
}

template <std::size_t P, std::size_t K>
inline void mix_pairs_from(const HadamardJob& job, const float* pairs, float* y) {
  constexpr std::size_t kLeft = P - K, kSome = kLeft < kPairsMixed ? kLeft : kPairsMixed;
  mix_some_pairs<P, K, kSome>(job, pairs, y);
  if constexpr (kLeft > kSome) mix_pairs_from<P, K + kSome>(job, pairs, y);
}

template <std::size_t P>
void mix_pairs(const HadamardJob& job, const float* t, float* y) {
  alignas(64) float pairs[P * 2 * kLanes];
  for (std::size_t j = 0; j < job.power; j += kLanes) {
    for (std::size_t i = 0; i < P; ++i) {
      const F16 u = load(t + job.rows[2 * i] * job.power + j);
      const F16 v = load(t + job.rows[2 * i + 1] * job.power + j);
      store(pairs + i * 2 * kLanes, add(u, v));
      store(pairs + (i * 2 + 1) * kLanes, sub(u, v));
    }
    mix_pairs_from<P, 0>(job, pairs, y + j);
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
    if (with_conference(job.pairs,
                        [&]<std::size_t P>(const Conference<P>&) { mix_pairs<P>(job, t, y + at); }))
      continue;
    std::size_t b = 0;
    for (; b + kMixed <= job.order; b += kMixed) mix_rows<kMixed>(job, b, t, y + at);
    for (; b < job.order; b += kSmallestOrder) mix_rows<kSmallestOrder>(job, b, t, y + at);
  }
}

}  // namespace
}  // namespace tender::kernels
