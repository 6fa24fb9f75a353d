#pragma once

// The body of gemm_i4_avx2.cc and gemm_i4_avxvnni.cc, which differ in how four products join a
// sum. Each defines add_quads() before it includes this; everything has internal linkage, nothing
// else includes it.
//
// One panel is two vectors of 8 outputs. Planes are walked one after the other: the lines of a
// group stay in L1.

#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_i4/gemm_i4.h"
#include "kernels/gemm_i8/store_ymm.h"

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kMaxRows = 3;
// Lines that are walked for all planes before the next ones where there are no groups.
constexpr std::size_t kBlockLines = 64;

inline __m256i broadcast(const std::int8_t* codes) {
  std::int32_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm256_set1_epi32(quad);
}

inline __m256i multipliers_of(const GemmI4Job& job, std::size_t panel, std::size_t group,
                              std::size_t half) {
  const std::uint8_t* at = job.multipliers + (panel * job.groups + group) * 16 + 8 * half;
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
}

/// Adds lines [l, end) of all planes to `sum`.
template <std::size_t Rows>
inline void add_lines(const GemmI4Job& job, const std::int8_t* codes, const std::uint8_t* panel,
                      std::size_t l, std::size_t end, __m256i sum[Rows][2]) {
  const __m256i nibble = _mm256_set1_epi8(15);
  __m256i part[Rows][2];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 2; ++h) part[r][h] = _mm256_setzero_si256();
  for (std::size_t plane = job.planes; plane-- > 0;) {
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t h = 0; h < 2; ++h) part[r][h] = _mm256_slli_epi32(part[r][h], 8);
    const std::int8_t* digits = codes + plane * job.plane_stride;
    for (std::size_t at = l; at < end; ++at)
      for (std::size_t h = 0; h < 2; ++h) {
        const auto* half = reinterpret_cast<const __m256i*>(panel + at * 64 + 32 * h);
        const __m256i both = _mm256_load_si256(half);
        const __m256i low = _mm256_and_si256(both, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
        for (std::size_t r = 0; r < Rows; ++r) {
          const std::int8_t* eight = digits + r * job.common.stride + at * 8;
          part[r][h] = add_quads(part[r][h], low, broadcast(eight), high, broadcast(eight + 4));
        }
      }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 2; ++h) sum[r][h] = _mm256_add_epi32(sum[r][h], part[r][h]);
}

template <std::size_t Rows>
void tile(const GemmI4Job& job, std::size_t row, std::size_t panel) {
  const GemmI8Job& common = job.common;
  const auto* codes = static_cast<const std::int8_t*>(common.codes) + row * common.stride;
  const std::uint8_t* weights = common.panels + panel * common.panel_bytes;
  __m256i total[Rows][2];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 2; ++h) total[r][h] = _mm256_setzero_si256();
  for (std::size_t g = 0, l = 0; g < job.groups; ++g) {
    __m256i sum[Rows][2];
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t h = 0; h < 2; ++h)
        sum[r][h] = _mm256_sub_epi32(
            _mm256_setzero_si256(), _mm256_set1_epi32(job.corrections[(row + r) * job.groups + g]));
    const std::size_t left = job.lines - l;
    const std::size_t end = l + (left < job.group_lines ? left : job.group_lines);
    for (std::size_t count = 0; l < end; l += count) {
      count = end - l < kBlockLines ? end - l : kBlockLines;
      add_lines<Rows>(job, codes, weights, l, l + count, sum);
    }
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t h = 0; h < 2; ++h) {
        if (job.multipliers != nullptr)
          sum[r][h] = _mm256_mullo_epi32(sum[r][h], multipliers_of(job, panel, g, h));
        total[r][h] = _mm256_add_epi32(total[r][h], sum[r][h]);
      }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 2; ++h) store(common, row + r, panel * 16 + 8 * h, total[r][h]);
}

using TileFn = void (*)(const GemmI4Job&, std::size_t, std::size_t);
constexpr TileFn kTiles[kMaxRows] = {tile<1>, tile<2>, tile<3>};

inline void run(const GemmI4Job& job, std::size_t begin, std::size_t end) {
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t m = 0; m < job.common.rows; m += kMaxRows)
      kTiles[(job.common.rows - m < kMaxRows ? job.common.rows - m : kMaxRows) - 1](job, m, p);
}

}  // namespace
}  // namespace tender::kernels::isa
