#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace tender::kernels {

/// What a row of scaled values reaches.
struct RowReach {
  std::uint32_t magnitude =
      0;              ///< bits of the largest |u|; from kNotFinite on, some u is not finite
  float largest = 0;  ///< max(0, largest u) where all are finite
};
constexpr std::uint32_t kNotFinite = 0x7f800000U;

/// u[k] = (x[k] - bias[k]) * multiplier[k], either left out where its array is null.
using ScaleRowFn = RowReach (*)(const float* x, const float* bias, const float* multiplier,
                                std::size_t in, float* u);
/// code[k] = rne(clamp(u[k] * factor, low, high)), ties to even; every u is finite, |low|, |high| <
/// 2^15.
using RoundRowFn = void (*)(const float* u, float factor, float low, float high, std::size_t in,
                            std::int16_t* codes);

/// Every element under a step of its own, all of them a power of two apart (tender.md 8.1, one
/// row):
///
///     h[k]       = how often peak can be halved and still be at least |x[k]|, at most groups - 1
///     operand[k] = rne(clamp(x[k] * factor * 2^h[k], low, high)) * 2^(groups - 1 - h[k])
///
/// Every x is finite and |x| <= peak, or x < 0 where low = 0 (such an operand is 0); peak is at
/// least 2^-100, high * 2^(groups - 1) below 2^15.
using RoundElementsFn = void (*)(const float* x, float peak, float factor, float low, float high,
                                 int groups, std::size_t in, std::int16_t* operands);

/// Rounds rows of activations to integers; all kernels give the same bits.
struct RoundRowsKernel {
  std::string_view name;
  Isa needs;
  ScaleRowFn scale;
  RoundRowFn round;
  RoundElementsFn elements;
};

/// Best first; the scalar one is the definition.
std::span<const RoundRowsKernel> round_rows_kernels();
const RoundRowsKernel& best_round_rows(Isa isa);

namespace isa {
RowReach scale_row_avx2(const float* x, const float* bias, const float* multiplier, std::size_t in,
                        float* u);
void round_row_avx2(const float* u, float factor, float low, float high, std::size_t in,
                    std::int16_t* codes);
void round_elements_avx2(const float* x, float peak, float factor, float low, float high,
                         int groups, std::size_t in, std::int16_t* operands);
RowReach scale_row_avx512(const float* x, const float* bias, const float* multiplier,
                          std::size_t in, float* u);
void round_row_avx512(const float* u, float factor, float low, float high, std::size_t in,
                      std::int16_t* codes);
void round_elements_avx512(const float* x, float peak, float factor, float low, float high,
                           int groups, std::size_t in, std::int16_t* operands);
}  // namespace isa

}  // namespace tender::kernels
