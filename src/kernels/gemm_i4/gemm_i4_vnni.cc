#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_i4/gemm_i4.h"
#include "kernels/gemm_i8/store_zmm.h"

// A line of 64 bytes is two vectors of unsigned weights: and; shift, and. They meet signed digits,
// four channels broadcast at a time. Bound by the read of the panels with one or two rows; with
// more, by one load of a broadcast for every two or four vpdpbusd.

namespace tender::kernels::isa {
namespace {

// Lines ahead of the one in use, 8 KiB: measured, bench/NOTES.md.
constexpr std::size_t kAhead = 128;

inline __m512i broadcast(const std::int8_t* codes) {
  std::int32_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm512_set1_epi32(quad);
}

inline __m512i multipliers_of(const GemmI4Job& job, std::size_t panel, std::size_t group) {
  const std::uint8_t* at = job.multipliers + (panel * job.groups + group) * 16;
  return _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(at)));
}

template <std::size_t Rows, std::size_t Panels, std::size_t Planes>
void tile(const GemmI4Job& job, std::size_t row, std::size_t panel) {
  const GemmI8Job& common = job.common;
  const auto* codes = static_cast<const std::int8_t*>(common.codes) + row * common.stride;
  const std::uint8_t* weights = common.panels + panel * common.panel_bytes;
  const __m512i nibble = _mm512_set1_epi8(15);
  __m512i total[Rows][Panels];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < Panels; ++p) total[r][p] = _mm512_setzero_si512();
  for (std::size_t g = 0, l = 0; g < job.groups; ++g) {
    __m512i sum[Rows][Panels][Planes];
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t p = 0; p < Panels; ++p)
        for (std::size_t d = 0; d < Planes; ++d) sum[r][p][d] = _mm512_setzero_si512();
    const std::size_t left = job.lines - l;
    const std::size_t end = l + (left < job.group_lines ? left : job.group_lines);
    for (; l < end; ++l) {
      __m512i low[Panels], high[Panels];
      for (std::size_t p = 0; p < Panels; ++p) {
        const std::uint8_t* line = weights + p * common.panel_bytes + l * 64;
        const __m512i both = _mm512_load_si512(line);
        low[p] = _mm512_and_si512(both, nibble);
        high[p] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
      }
      for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t d = 0; d < Planes; ++d) {
          const std::int8_t* eight = codes + r * common.stride + d * job.plane_stride + l * 8;
          const __m512i first = broadcast(eight);
          for (std::size_t p = 0; p < Panels; ++p)
            sum[r][p][d] = _mm512_dpbusd_epi32(sum[r][p][d], low[p], first);
          const __m512i second = broadcast(eight + 4);
          for (std::size_t p = 0; p < Panels; ++p)
            sum[r][p][d] = _mm512_dpbusd_epi32(sum[r][p][d], high[p], second);
        }
    }
    for (std::size_t r = 0; r < Rows; ++r) {
      const __m512i correction = _mm512_set1_epi32(job.corrections[(row + r) * job.groups + g]);
      for (std::size_t p = 0; p < Panels; ++p) {
        __m512i part = sum[r][p][Planes - 1];
        for (std::size_t d = Planes - 1; d-- > 0;)
          part = _mm512_add_epi32(_mm512_slli_epi32(part, 8), sum[r][p][d]);
        part = _mm512_sub_epi32(part, correction);
        if (job.multipliers != nullptr)
          part = _mm512_mullo_epi32(part, multipliers_of(job, panel + p, g));
        total[r][p] = _mm512_add_epi32(total[r][p], part);
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < Panels; ++p) store(common, row + r, (panel + p) * 16, total[r][p]);
}

/// One row and one panel: memory is read in one stream. Sums of low and of high nibbles, of even
/// and of odd lines stand apart, as a chain of vpdpbusd takes four cycles a link.
template <std::size_t Planes>
void one_row(const GemmI4Job& job, std::size_t row, std::size_t panel) {
  const GemmI8Job& common = job.common;
  const auto* codes = static_cast<const std::int8_t*>(common.codes) + row * common.stride;
  const std::uint8_t* weights = common.panels + panel * common.panel_bytes;
  const std::int32_t* corrections = job.corrections + row * job.groups;
  const __m512i nibble = _mm512_set1_epi8(15);
  __m512i total = _mm512_setzero_si512();
  for (std::size_t g = 0, l = 0; g < job.groups; ++g) {
    __m512i sum[Planes][4];
    for (std::size_t d = 0; d < Planes; ++d)
      for (std::size_t i = 0; i < 4; ++i) sum[d][i] = _mm512_setzero_si512();
    const auto add_line = [&](std::size_t at, std::size_t odd) {
      const std::uint8_t* line = weights + at * 64;
      _mm_prefetch(reinterpret_cast<const char*>(line + kAhead * 64), _MM_HINT_T0);
      const __m512i both = _mm512_load_si512(line);
      const __m512i low = _mm512_and_si512(both, nibble);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
      for (std::size_t d = 0; d < Planes; ++d) {
        const std::int8_t* eight = codes + d * job.plane_stride + at * 8;
        sum[d][odd] = _mm512_dpbusd_epi32(sum[d][odd], low, broadcast(eight));
        sum[d][odd + 2] = _mm512_dpbusd_epi32(sum[d][odd + 2], high, broadcast(eight + 4));
      }
    };
    const std::size_t left = job.lines - l;
    const std::size_t end = l + (left < job.group_lines ? left : job.group_lines);
    for (; l + 2 <= end; l += 2) {
      add_line(l, 0);
      add_line(l + 1, 1);
    }
    if (l < end) add_line(l++, 0);
    __m512i part = _mm512_setzero_si512();
    for (std::size_t d = Planes; d-- > 0;)
      part = _mm512_add_epi32(_mm512_slli_epi32(part, 8),
                              _mm512_add_epi32(_mm512_add_epi32(sum[d][0], sum[d][1]),
                                               _mm512_add_epi32(sum[d][2], sum[d][3])));
    part = _mm512_sub_epi32(part, _mm512_set1_epi32(corrections[g]));
    if (job.multipliers != nullptr) part = _mm512_mullo_epi32(part, multipliers_of(job, panel, g));
    total = _mm512_add_epi32(total, part);
  }
  store(common, row, panel * 16, total);
}

using TileFn = void (*)(const GemmI4Job&, std::size_t, std::size_t);

struct Tile {
  std::size_t rows;
  std::size_t panels;
  TileFn wide;    // so many panels
  TileFn narrow;  // one
};

template <std::size_t Rows, std::size_t Panels, std::size_t Planes>
constexpr Tile kTile = {Rows, Panels, tile<Rows, Panels, Planes>, tile<Rows, 1, Planes>};

template <std::size_t Planes>
constexpr Tile kOneRow = {1, 1, one_row<Planes>, one_row<Planes>};

constexpr Tile kOnePlane[] = {kTile<8, 2, 1>, kTile<4, 2, 1>, kTile<2, 2, 1>, kOneRow<1>};
constexpr Tile kTwoPlanes[] = {kTile<4, 2, 2>, kTile<2, 2, 2>, kOneRow<2>};
constexpr Tile kThreePlanes[] = {kOneRow<3>};
constexpr Tile kFourPlanes[] = {kOneRow<4>};
constexpr const Tile* kTiles[] = {kOnePlane, kTwoPlanes, kThreePlanes, kFourPlanes};

}  // namespace

void gemm_i4_vnni(const GemmI4Job& job, std::size_t begin, std::size_t end) {
  // All rows meet a few panels before the next ones are read.
  for (std::size_t p = begin, panels = 0; p < end; p += panels) {
    panels = end - p < 4 ? end - p : 4;
    const Tile* tile = kTiles[job.planes - 1];
    for (std::size_t m = 0; m < job.common.rows; m += tile->rows) {
      while (tile->rows > job.common.rows - m) ++tile;
      std::size_t q = 0;
      for (; q + tile->panels <= panels; q += tile->panels) tile->wide(job, m, p + q);
      for (; q < panels; ++q) tile->narrow(job, m, p + q);
    }
  }
}

}  // namespace tender::kernels::isa
