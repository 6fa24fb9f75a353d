#include "io/gguf/block_formats.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "base/half.h"

namespace tender::io {
namespace {

// Layouts by the GGUF format; offsets in bytes within a block. "low" and "high" are nibbles.

std::uint16_t load16(const std::uint8_t* at) {
  std::uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
std::uint32_t load32(const std::uint8_t* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
float half_at(const std::uint8_t* at) { return half_to_float(load16(at)); }
float as_float(int value) { return static_cast<float>(value); }

/// 0 scale, 2 codes: low nibbles are elements 0-15, high ones 16-31; value = scale * (code - 8).
void q4_0(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = scale * as_float((block[2 + i] & 15) - 8);
    out[i + 16] = scale * as_float((block[2 + i] >> 4) - 8);
  }
}

/// 0 scale, 2 minimum, 4 codes as in q4_0; value = scale * code + minimum.
void q4_1(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const float minimum = half_at(block + 2);
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = scale * as_float(block[4 + i] & 15) + minimum;
    out[i + 16] = scale * as_float(block[4 + i] >> 4) + minimum;
  }
}

/// Bit 4 of code i in place: bit i of `high`.
int fifth_bit(std::uint32_t high, std::size_t i) { return static_cast<int>(high >> i & 1U) << 4; }

/// 0 scale, 2 fifth bits, 6 codes; value = scale * (code - 16).
void q5_0(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const std::uint32_t high = load32(block + 2);
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = scale * as_float(((block[6 + i] & 15) | fifth_bit(high, i)) - 16);
    out[i + 16] = scale * as_float((block[6 + i] >> 4 | fifth_bit(high, i + 16)) - 16);
  }
}

/// 0 scale, 2 minimum, 4 fifth bits, 8 codes; value = scale * code + minimum.
void q5_1(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const float minimum = half_at(block + 2);
  const std::uint32_t high = load32(block + 4);
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = scale * as_float((block[8 + i] & 15) | fifth_bit(high, i)) + minimum;
    out[i + 16] = scale * as_float(block[8 + i] >> 4 | fifth_bit(high, i + 16)) + minimum;
  }
}

/// 0 scale, 2 signed codes.
void q8_0(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  for (std::size_t i = 0; i < 32; ++i)
    out[i] = scale * as_float(static_cast<std::int8_t>(block[2 + i]));
}

/// 0 sixteen (scale low, minimum high), 16 codes of 2 bits, 80 scale, 82 minimum. Each 32 bytes of
/// codes hold four runs of 32 elements, run s in bits 2s and 2s + 1; a sub-block is 16 elements.
void q2_k(const std::uint8_t* block, float* out) {
  const float scale = half_at(block + 80);
  const float minimum = half_at(block + 82);
  for (std::size_t sub = 0; sub < 16; ++sub) {
    const float step = scale * as_float(block[sub] & 15);
    const float base = minimum * as_float(block[sub] >> 4);
    const std::uint8_t* codes = block + 16 + sub / 8 * 32 + sub % 2 * 16;
    const unsigned shift = static_cast<unsigned>(sub % 8 / 2 * 2);
    for (std::size_t i = 0; i < 16; ++i) *out++ = step * as_float(codes[i] >> shift & 3) - base;
  }
}

/// 0 high bits (bit r of byte i: element i of run r of 32; set means no offset of 4), 32 codes of 2
/// bits as in q2_k, 96 sixteen sub-scales of 6 bits (minus 32), 108 scale.
void q3_k(const std::uint8_t* block, float* out) {
  const float scale = half_at(block + 108);
  const std::uint8_t* packed = block + 96;
  for (std::size_t sub = 0; sub < 16; ++sub) {
    const int low = packed[sub % 8] >> (sub < 8 ? 0 : 4) & 15;
    const int high = packed[8 + sub % 4] >> (sub / 4 * 2) & 3;
    const float step = scale * as_float((low | high << 4) - 32);
    const std::size_t first = sub % 2 * 16;
    const std::uint8_t* codes = block + 32 + sub / 8 * 32 + first;
    const unsigned shift = static_cast<unsigned>(sub % 8 / 2 * 2);
    for (std::size_t i = 0; i < 16; ++i) {
      const int offset = block[first + i] >> (sub / 2) & 1 ? 0 : 4;
      *out++ = step * as_float((codes[i] >> shift & 3) - offset);
    }
  }
}

struct SubScale {
  int scale;
  int minimum;
};

/// Sub-scale and sub-minimum of q4_k and q5_k, 6 bits each, out of 12 bytes: the first four of each
/// lie whole in bytes 0-3 and 4-7; of the others the low nibbles lie in bytes 8-11 and the upper
/// two bits on top of those bytes.
SubScale sub_scale(const std::uint8_t* packed, std::size_t sub) {
  if (sub < 4) return {packed[sub] & 63, packed[sub + 4] & 63};
  const std::uint8_t low = packed[sub + 4];
  return {(low & 15) | (packed[sub - 4] >> 6) << 4, low >> 4 | (packed[sub] >> 6) << 4};
}

/// 0 scale, 2 minimum, 4 sub-scales, 16 codes: 32 bytes hold two runs of 32, low nibbles first.
void q4_k(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const float minimum = half_at(block + 2);
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const SubScale s = sub_scale(block + 4, sub);
    const float step = scale * as_float(s.scale);
    const float base = minimum * as_float(s.minimum);
    const std::uint8_t* codes = block + 16 + sub / 2 * 32;
    for (std::size_t i = 0; i < 32; ++i)
      *out++ = step * as_float(codes[i] >> (sub % 2 * 4) & 15) - base;
  }
}

/// As q4_k with 16 fifth bits (bit r of byte i: element i of run r) and the codes at 48.
void q5_k(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const float minimum = half_at(block + 2);
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const SubScale s = sub_scale(block + 4, sub);
    const float step = scale * as_float(s.scale);
    const float base = minimum * as_float(s.minimum);
    const std::uint8_t* codes = block + 48 + sub / 2 * 32;
    for (std::size_t i = 0; i < 32; ++i) {
      const int code = (codes[i] >> (sub % 2 * 4) & 15) | (block[16 + i] >> sub & 1) << 4;
      *out++ = step * as_float(code) - base;
    }
  }
}

/// 0 low nibbles (64 bytes: runs 0, 1 low and 2, 3 high), 128 upper two bits (32 bytes: run r in
/// bits 2r, 2r + 1), 192 sixteen signed sub-scales, 208 scale; value = scale * sub-scale * (code -
/// 32).
void q6_k(const std::uint8_t* block, float* out) {
  const float scale = half_at(block + 208);
  for (std::size_t sub = 0; sub < 16; ++sub) {
    const float step = scale * as_float(static_cast<std::int8_t>(block[192 + sub]));
    const std::size_t half = sub / 8;     // 128 elements
    const std::size_t run = sub % 8 / 2;  // 32 elements
    const std::size_t first = sub % 2 * 16;
    const std::uint8_t* low = block + half * 64 + run % 2 * 32 + first;
    const std::uint8_t* high = block + 128 + half * 32 + first;
    for (std::size_t i = 0; i < 16; ++i) {
      const int code = (low[i] >> (run / 2 * 4) & 15) | (high[i] >> (run * 2) & 3) << 4;
      *out++ = step * as_float(code - 32);
    }
  }
}

/// The sixteen levels of iq4_nl and iq4_xs.
constexpr std::array<std::int8_t, 16> kNonlinearLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                          1,    13,   25,  38,  53,  69,  89,  113};

/// 16 bytes of codes for 32 elements, low nibbles first, looked up in `levels`.
void look_up(const std::uint8_t* codes, const std::array<std::int8_t, 16>& levels, float scale,
             float* out) {
  for (std::size_t i = 0; i < 16; ++i) {
    out[i] = scale * as_float(levels[codes[i] & 15]);
    out[i + 16] = scale * as_float(levels[codes[i] >> 4]);
  }
}

/// 0 scale, 2 codes.
void iq4_nl(const std::uint8_t* block, float* out) {
  look_up(block + 2, kNonlinearLevels, half_at(block), out);
}

/// 0 scale, 2 upper two bits of eight sub-scales, 4 their low nibbles, 8 codes; sub-scale minus 32.
void iq4_xs(const std::uint8_t* block, float* out) {
  const float scale = half_at(block);
  const std::uint16_t high = load16(block + 2);
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const int low = block[4 + sub / 2] >> (sub % 2 * 4) & 15;
    const int code = low | (high >> (sub * 2) & 3) << 4;
    look_up(block + 8 + sub * 16, kNonlinearLevels, scale * as_float(code - 32), out + sub * 32);
  }
}

/// Twice the values of fp4 E2M1; GGUF gives code 8 (minus zero) as plus zero.
constexpr std::array<std::int8_t, 16> kTwiceE2m1 = {0, 1,  2,  3,  4,  6,  8,  12,
                                                    0, -1, -2, -3, -4, -6, -8, -12};

/// 0 exponent, 1 codes; value = 2^(exponent - 127) * e2m1. Half the power of two is taken, as the
/// levels are doubled; for exponents 0 and 1 it is subnormal.
void mxfp4(const std::uint8_t* block, float* out) {
  const std::uint32_t exponent = block[0];
  const std::uint32_t bits = exponent < 2 ? 0x00200000U << exponent : (exponent - 1) << 23U;
  look_up(block + 1, kTwiceE2m1, std::bit_cast<float>(bits), out);
}

constexpr std::array kFormats = {
    BlockFormat{DType::q4_0, q4_0},     BlockFormat{DType::q4_1, q4_1},
    BlockFormat{DType::q5_0, q5_0},     BlockFormat{DType::q5_1, q5_1},
    BlockFormat{DType::q8_0, q8_0},     BlockFormat{DType::q2_k, q2_k},
    BlockFormat{DType::q3_k, q3_k},     BlockFormat{DType::q4_k, q4_k},
    BlockFormat{DType::q5_k, q5_k},     BlockFormat{DType::q6_k, q6_k},
    BlockFormat{DType::iq4_nl, iq4_nl}, BlockFormat{DType::iq4_xs, iq4_xs},
    BlockFormat{DType::mxfp4, mxfp4},
};

}  // namespace

std::span<const BlockFormat> block_formats() { return kFormats; }

}  // namespace tender::io
