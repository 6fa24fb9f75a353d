#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstring>

#include "kernels/gemm_blocks/gemm_blocks.h"

// The product in vectors of 8 outputs, over a Dot that multiplies bytes. For the ISA files alone:
// each gets a copy of its own, compiled with its own flags.
//
// Dot has: multiply_nibbles(part, u, x), multiply_bytes(sum, u, x) with u unsigned as panels hold
// it, x signed; add(sum, part) adds what multiply_nibbles has gathered of a block from 0 on;
// kTakesZero: multiply_bytes takes 128 from every u itself.
namespace tender::kernels {
namespace {

constexpr std::size_t kYmmQuads = PanelsBlocks::kBlock / 4;
constexpr std::size_t kYmmHalves = 32;  ///< bytes of 16 float16
constexpr std::size_t kYmmSuper = 2 * kYmmHalves + PanelsBlocks::kSuper * 32;
constexpr std::size_t kYmmHalved = kYmmHalves + PanelsBlocks::kSuper * 32;

inline __m256 ymm_halves(const std::uint8_t* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
inline __m256 ymm_bytes(const std::uint8_t* at) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))));
}

/// @param part  which scale of the block  @param half  0 or 1: which 8 outputs of the panel
inline __m256 ymm_scale(BlockScales form, const std::uint8_t* scales, std::size_t block,
                        std::size_t part, std::size_t half) {
  switch (form) {
    case BlockScales::half_blocks: {
      const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kYmmHalved;
      const std::uint8_t* times = super + kYmmHalves + block % PanelsBlocks::kSuper * 32;
      const __m128i eight =
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(times + part * 16 + half * 8));
      return _mm256_mul_ps(ymm_halves(super + half * 16),
                           _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)));
    }
    case BlockScales::floats:
      return _mm256_loadu_ps(reinterpret_cast<const float*>(scales + block * 64 + half * 32));
    case BlockScales::halves:
      return ymm_halves(scales + block * kYmmHalves + half * 16);
    case BlockScales::halves_and_minima:
      return ymm_halves(scales + block * 2 * kYmmHalves + half * 16);
    case BlockScales::superblocks:
      break;
  }
  const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kYmmSuper;
  return _mm256_mul_ps(
      ymm_halves(super + half * 16),
      ymm_bytes(super + 2 * kYmmHalves + block % PanelsBlocks::kSuper * 32 + half * 8));
}

inline __m256 ymm_minimum(BlockScales form, const std::uint8_t* scales, std::size_t block,
                          std::size_t half) {
  if (form == BlockScales::halves_and_minima)
    return ymm_halves(scales + block * 2 * kYmmHalves + kYmmHalves + half * 16);
  const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kYmmSuper;
  const __m256 minimum = _mm256_mul_ps(
      ymm_halves(super + kYmmHalves + half * 16),
      ymm_bytes(super + 2 * kYmmHalves + block % PanelsBlocks::kSuper * 32 + 16 + half * 8));
  return _mm256_xor_ps(minimum, _mm256_set1_ps(-0.0F));
}

inline __m256i ymm_load(const std::uint8_t* at) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
}
inline __m256i ymm_quad(const std::int8_t* codes) {
  std::int32_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm256_set1_epi32(quad);
}

/// @tparam Quads  of inputs: a block, or half of one
template <class Dot, int Bits, std::size_t Quads, std::size_t Rows>
inline void ymm_multiply_block(__m256i (&sums)[Rows][2], const std::int8_t* codes,
                               std::size_t stride, const std::uint8_t* weights) {
  if constexpr (Bits == 8) {
    for (std::size_t q = 0; q < Quads; ++q) {
      const __m256i left = ymm_load(weights + 64 * q), right = ymm_load(weights + 64 * q + 32);
      for (std::size_t r = 0; r < Rows; ++r) {
        const __m256i x = ymm_quad(codes + r * stride + 4 * q);
        sums[r][0] = Dot::multiply_bytes(sums[r][0], left, x);
        sums[r][1] = Dot::multiply_bytes(sums[r][1], right, x);
      }
    }
  } else {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i parts[Rows][2];
    for (std::size_t r = 0; r < Rows; ++r) parts[r][0] = parts[r][1] = _mm256_setzero_si256();
    for (std::size_t l = 0; l < Quads / 2; ++l) {
      const __m256i left = ymm_load(weights + 64 * l), right = ymm_load(weights + 64 * l + 32);
      const __m256i first[2] = {_mm256_and_si256(left, low), _mm256_and_si256(right, low)};
      const __m256i second[2] = {_mm256_and_si256(_mm256_srli_epi16(left, 4), low),
                                 _mm256_and_si256(_mm256_srli_epi16(right, 4), low)};
      for (std::size_t r = 0; r < Rows; ++r) {
        const std::int8_t* eight = codes + r * stride + 8 * l;
        const __m256i x = ymm_quad(eight), next = ymm_quad(eight + 4);
        for (std::size_t half = 0; half < 2; ++half) {
          parts[r][half] = Dot::multiply_nibbles(parts[r][half], first[half], x);
          parts[r][half] = Dot::multiply_nibbles(parts[r][half], second[half], next);
        }
      }
    }
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t half = 0; half < 2; ++half)
        sums[r][half] = Dot::add(sums[r][half], parts[r][half]);
  }
}

/// What of a panel's 8 outputs is wanted: all bits set in lanes below `left`.
inline __m256i ymm_mask(std::size_t left) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < 8 ? static_cast<int>(left) : 8), lanes);
}

/// @tparam Parts  scales of a block
template <class Dot, int Bits, std::size_t Parts, std::size_t Rows>
void ymm_tile(const GemmBlocksJob& job, std::size_t row, std::size_t panel) {
  constexpr std::size_t kBytes = PanelsBlocks::kBlock * 16 * Bits / 8;
  const bool minima =
      job.form == BlockScales::halves_and_minima || job.form == BlockScales::superblocks;
  const int zero = Bits == 8 && Dot::kTakesZero ? 0 : job.zero;
  const std::int8_t* codes = job.codes + row * job.stride;
  const std::uint8_t* weights = job.panels + panel * job.panel_bytes;
  const std::uint8_t* scales = job.scales + panel * job.panel_scale_bytes;
  __m256 y[Rows][2];
  for (std::size_t r = 0; r < Rows; ++r) y[r][0] = y[r][1] = _mm256_setzero_ps();
  for (std::size_t b = 0; b < job.blocks; ++b) {
    const std::size_t at = row * job.blocks + b;
    for (std::size_t part = 0; part < Parts; ++part) {
      __m256i sums[Rows][2];
      for (std::size_t r = 0; r < Rows; ++r) {
        const std::int32_t* two = job.sums + 2 * (at + r * job.blocks);
        sums[r][0] = sums[r][1] =
            _mm256_set1_epi32(-zero * (Parts == 2 ? two[part] : two[0] + two[1]));
      }
      ymm_multiply_block<Dot, Bits, kYmmQuads / Parts, Rows>(
          sums, codes + b * PanelsBlocks::kBlock + part * PanelsBlocks::kBlock / 2, job.stride,
          weights + b * kBytes + part * kBytes / 2);
      for (std::size_t half = 0; half < 2; ++half) {
        const __m256 scale = ymm_scale(job.form, scales, b, part, half);
        for (std::size_t r = 0; r < Rows; ++r) {
          const __m256 by = _mm256_mul_ps(scale, _mm256_set1_ps(job.steps[at + r * job.blocks]));
          y[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[r][half]), by, y[r][half]);
        }
        if (!minima) continue;
        const __m256 minimum = ymm_minimum(job.form, scales, b, half);
        for (std::size_t r = 0; r < Rows; ++r) {
          const std::size_t i = at + r * job.blocks;
          const float times =
              job.steps[i] * static_cast<float>(job.sums[2 * i] + job.sums[2 * i + 1]);
          y[r][half] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(times), y[r][half]);
        }
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t half = 0; half < 2; ++half) {
      const std::size_t n = panel * 16 + 8 * half;
      if (n >= job.out) continue;
      const __m256i mask = ymm_mask(job.out - n);
      if (job.bias != nullptr)
        y[r][half] = _mm256_add_ps(y[r][half], _mm256_maskload_ps(job.bias + n, mask));
      _mm256_maskstore_ps(job.y + (row + r) * job.y_stride + n, mask, y[r][half]);
    }
}

template <class Dot, int Bits, std::size_t Parts>
void ymm_run(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  constexpr std::size_t kRows = 3;  // six integer and six float accumulators of 16 registers
  for (std::size_t p = begin; p < end; ++p) {
    std::size_t m = 0;
    for (; m + kRows <= job.rows; m += kRows) ymm_tile<Dot, Bits, Parts, kRows>(job, m, p);
    for (; m < job.rows; ++m) ymm_tile<Dot, Bits, Parts, 1>(job, m, p);
  }
}

template <class Dot, int Bits>
void ymm_run(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  if (scales_in_block(job.form) == 2)
    ymm_run<Dot, Bits, 2>(job, begin, end);
  else
    ymm_run<Dot, Bits, 1>(job, begin, end);
}

template <class Dot>
void ymm_run(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  if (job.bits == 8)
    ymm_run<Dot, 8>(job, begin, end);
  else
    ymm_run<Dot, 4>(job, begin, end);
}

}  // namespace
}  // namespace tender::kernels
