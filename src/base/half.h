#pragma once

#include <bit>
#include <cstdint>

namespace tender {

/// IEEE 754 binary16 bits as float32, exactly; NaN keeps its payload.
constexpr float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
  const std::uint32_t exponent = bits >> 10U & 0x1fU;
  std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | mantissa << 13U);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112U) << 23U | mantissa << 13U);
  if (mantissa == 0) return std::bit_cast<float>(sign);
  std::uint32_t shift = 0;
  for (; (mantissa & 0x400U) == 0; ++shift) mantissa <<= 1U;
  return std::bit_cast<float>(sign | (113U - shift) << 23U | (mantissa & 0x3ffU) << 13U);
}

/// Nearest binary16, ties to even; what is too large becomes infinity, NaN stays NaN.
constexpr std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16U & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U)
    return static_cast<std::uint16_t>(sign | 0x7e00U | (magnitude >> 13U & 0x3ffU));
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // >= 65520
  if (magnitude < 0x33000001U) return sign;                                         // <= 2^-25
  std::uint32_t mantissa = (magnitude & 0x7fffffU) | 0x800000U;
  const std::uint32_t exponent = magnitude >> 23U;
  const std::uint32_t drop = exponent >= 113U ? 13U : 126U - exponent;
  const std::uint32_t halfway = 1U << (drop - 1U);
  const std::uint32_t rest = mantissa & ((1U << drop) - 1U);
  mantissa >>= drop;
  if (rest > halfway || (rest == halfway && (mantissa & 1U) != 0)) ++mantissa;
  const std::uint32_t base =
      exponent >= 113U ? (exponent - 113U) << 10U : 0U;  // a carry lands right
  return static_cast<std::uint16_t>(sign | (base + mantissa));
}

constexpr float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

/// Nearest bfloat16, ties to even; NaN stays NaN.
constexpr std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U);
}

}  // namespace tender
