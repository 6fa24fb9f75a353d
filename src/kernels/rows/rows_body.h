#pragma once

// Included after one of lanes/*.h and lanes/exp_body.h.

#include <cmath>
#include <cstddef>

namespace tender::kernels {
namespace {

/// Calls step(i, count): count = kLanes for whole groups of lanes, less for the end of the row.
template <class Step>
inline void for_lanes(std::size_t n, Step step) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) step(i, kLanes);
  if (i < n) step(i, n - i);
}

inline F16 get(const float* p, std::size_t count) {
  return count == kLanes ? load(p) : load_first(p, count);
}
inline void put(float* p, F16 a, std::size_t count) {
  if (count == kLanes)
    store(p, a);
  else
    store_first(p, a, count);
}

inline float reciprocal_root(float sum, std::size_t n, float epsilon) {
  return 1.0F / __builtin_sqrtf(sum / static_cast<float>(n) + epsilon);
}

void rms_norm_row(const float* x, const float* weight, float epsilon, float* y, std::size_t n) {
  F16 squares = zero();
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    const F16 a = get(x + i, count);
    squares = fma(a, a, squares);
  });
  const F16 scale = set1(reciprocal_root(sum_of_lanes(squares), n, epsilon));
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    put(y + i, mul(get(weight + i, count), mul(get(x + i, count), scale)), count);
  });
}

void layer_norm_row(const float* x, const float* weight, const float* bias, float epsilon, float* y,
                    std::size_t n) {
  F16 sums = zero();
  for_lanes(n, [&](std::size_t i, std::size_t count) { sums = add(sums, get(x + i, count)); });
  const F16 mean = set1(sum_of_lanes(sums) / static_cast<float>(n));
  F16 squares = zero();
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    const F16 a = select(0, count, sub(get(x + i, count), mean), zero());
    squares = fma(a, a, squares);
  });
  const F16 scale = set1(reciprocal_root(sum_of_lanes(squares), n, epsilon));
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    F16 a = mul(mul(sub(get(x + i, count), mean), scale), get(weight + i, count));
    if (bias != nullptr) a = add(a, get(bias + i, count));
    put(y + i, a, count);
  });
}

void silu_mul_row(const float* gate, const float* up, float* y, std::size_t n) {
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    const F16 g = get(gate + i, count);
    const F16 silu = div(g, add(set1(1.0F), exp_of(sub(zero(), g))));
    put(y + i, mul(silu, get(up + i, count)), count);
  });
}

void add_row(const float* x, const float* z, float* y, std::size_t n) {
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    put(y + i, add(get(x + i, count), get(z + i, count)), count);
  });
}

void relu_row(const float* x, float* y, std::size_t n) {
  // max() gives its second operand for NaN and for two zeros; -0 + 0 = +0.
  for_lanes(n, [&](std::size_t i, std::size_t count) {
    put(y + i, add(max(zero(), get(x + i, count)), zero()), count);
  });
}

}  // namespace
}  // namespace tender::kernels
