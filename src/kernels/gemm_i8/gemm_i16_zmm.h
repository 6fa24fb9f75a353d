#pragma once

// The body of gemm_i16_avx512.cc and gemm_i16_vnni.cc, which differ in one instruction. Each
// defines multiply_add() before it includes this; everything has internal linkage, nothing else
// includes it.
//
// A vector holds 8 outputs with two partial sums each (slots 0 and 1, slots 2 and 3 of the quads);
// the two are added at the end, which a shift of both commutes with. Up to 12 rows x 1 panel: 24
// accumulators, bound by the multiply-add; with few rows three panels at a time, bound by the read.

#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/gemm_i8/store_zmm.h"

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kMaxRows = 12;
constexpr std::size_t kFewRows = 4;
constexpr std::size_t kReadRows = 2;  ///< up to which the read of the panels is the limit
constexpr std::size_t kAhead = 2048;  ///< bytes of weights that are asked for ahead of them
constexpr std::size_t kBlockBytes = std::size_t{384} << 10U;

inline __m512i broadcast(const std::int16_t* codes) {
  std::int64_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm512_set1_epi64(quad);
}

/// Outputs 0 … 15 from two vectors of pairs.
inline __m512i add_pairs(__m512i low, __m512i high) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_permutex2var_epi32(low, even, high),
                          _mm512_permutex2var_epi32(low, odd, high));
}

template <std::size_t Rows, std::size_t Panels>
void tile(const GemmI8Job& job, std::size_t row, std::size_t panel) {
  const auto* codes = static_cast<const std::int16_t*>(job.codes) + row * job.stride;
  const std::uint8_t* weights = job.panels + (panel - job.first_panel) * job.panel_bytes;
  __m512i sum[Rows][2 * Panels];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < 2 * Panels; ++p) sum[r][p] = _mm512_setzero_si512();
  for (std::size_t s = 0; s < job.segment_count; ++s) {
    const Segment segment = job.segments[s];
    if (s != 0 && segment.shift != 0) {
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(segment.shift));
      for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t p = 0; p < 2 * Panels; ++p) sum[r][p] = _mm512_sll_epi32(sum[r][p], shift);
    }
    const std::int16_t* c = codes + std::size_t{4} * segment.codes;
    const std::uint8_t* w = weights + std::size_t{64} * segment.panel;
    for (std::size_t q = 0; q < segment.quads; ++q, c += 4, w += 64) {
      __m512i wide[2 * Panels];
      for (std::size_t p = 0; p < 2 * Panels; ++p) {
        const std::uint8_t* half = w + p / 2 * job.panel_bytes + p % 2 * 32;
        if constexpr (Rows <= kReadRows)
          if (p % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(half + kAhead), _MM_HINT_T0);
        wide[p] = _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(half)));
      }
      for (std::size_t r = 0; r < Rows; ++r) {
        const __m512i x = broadcast(c + r * job.stride);
        for (std::size_t p = 0; p < 2 * Panels; ++p)
          sum[r][p] = multiply_add(sum[r][p], wide[p], x);
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < Panels; ++p)
      store(job, row + r, (panel + p) * 16, add_pairs(sum[r][2 * p], sum[r][2 * p + 1]));
}

using TileFn = void (*)(const GemmI8Job&, std::size_t, std::size_t);

// [rows - 1][panels - 1]; null where a narrower tile is used.
constexpr TileFn kTiles[kMaxRows][3] = {
    {tile<1, 1>, tile<1, 2>, tile<1, 3>},
    {tile<2, 1>, tile<2, 2>, tile<2, 3>},
    {tile<3, 1>, tile<3, 2>, tile<3, 3>},
    {tile<4, 1>, tile<4, 2>, tile<4, 3>},
    {tile<5, 1>},
    {tile<6, 1>},
    {tile<7, 1>},
    {tile<8, 1>},
    {tile<9, 1>},
    {tile<10, 1>},
    {tile<11, 1>},
    {tile<12, 1>},
};

inline void run(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  std::size_t block = kBlockBytes / (2 * job.stride + 1) / kMaxRows * kMaxRows;
  if (block < kMaxRows) block = kMaxRows;
  for (std::size_t first = 0; first < job.rows; first += block) {
    const std::size_t last = first + block < job.rows ? first + block : job.rows;
    for (std::size_t p = begin, count = 0; p < end; p += count) {
      count = last - first > kFewRows ? 1 : (end - p < 3 ? end - p : 3);
      for (std::size_t m = first; m < last; m += kMaxRows) {
        const std::size_t rows = last - m < kMaxRows ? last - m : kMaxRows;
        kTiles[rows - 1][count - 1](job, m, p);
      }
    }
  }
}

}  // namespace
}  // namespace tender::kernels::isa
