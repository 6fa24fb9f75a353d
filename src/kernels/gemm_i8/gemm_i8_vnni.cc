#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/gemm_i8/store_zmm.h"
#include "kernels/tile_walk.h"

// 8 rows x 3 panels: 24 accumulators, 3 weight vectors and a broadcast in 28 of the 32 registers.
// Bound by vpdpbusd (two a cycle) while a panel group stays in L2; with one or two rows by the read
// of the panels, which is why those tiles run over 6 panels: more chains than the latency of four.

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kMaxRows = 8;

inline __m512i broadcast(const std::uint8_t* codes) {
  std::int32_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm512_set1_epi32(quad);
}

template <std::size_t Rows, std::size_t Panels, bool Signed>
void tile(const GemmI8Job& job, std::size_t row, std::size_t panel) {
  const auto* codes = static_cast<const std::uint8_t*>(job.codes) + row * job.stride;
  const std::uint8_t* weights = job.panels + (panel - job.first_panel) * job.panel_bytes;
  __m512i sum[Rows][Panels];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (std::size_t p = 0; p < Panels; ++p) sum[r][p] = _mm512_setzero_si512();
  for (std::size_t s = 0; s < job.segment_count; ++s) {
    const Segment segment = job.segments[s];
    if (s != 0 && segment.shift != 0) {
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(segment.shift));
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (std::size_t p = 0; p < Panels; ++p) sum[r][p] = _mm512_sll_epi32(sum[r][p], shift);
    }
    const std::uint8_t* c = codes + std::size_t{4} * segment.codes;
    const std::uint8_t* w = weights + std::size_t{64} * segment.panel;
    for (std::size_t q = 0; q < segment.quads; ++q, c += 4, w += 64) {
      __m512i four[Panels];
#pragma GCC unroll 8
      for (std::size_t p = 0; p < Panels; ++p) four[p] = _mm512_load_si512(w + p * job.panel_bytes);
#pragma GCC unroll 8
      for (std::size_t r = 0; r < Rows; ++r) {
        const __m512i x = broadcast(c + r * job.stride);
#pragma GCC unroll 8
        for (std::size_t p = 0; p < Panels; ++p)
          sum[r][p] = Signed ? _mm512_dpbusd_epi32(sum[r][p], four[p], x)
                             : _mm512_dpbusd_epi32(sum[r][p], x, four[p]);
      }
    }
  }
  store_tile<Rows, Panels>(job, row, panel, sum);
}

using TileFn = void (*)(const GemmI8Job&, std::size_t, std::size_t);

// [rows - 1][panels - 1]; null where a narrower tile is used.
template <bool Signed>
constexpr TileFn kTiles[kMaxRows][6] = {
    {tile<1, 1, Signed>, tile<1, 2, Signed>, tile<1, 3, Signed>, nullptr, nullptr,
     tile<1, 6, Signed>},
    {tile<2, 1, Signed>, tile<2, 2, Signed>, tile<2, 3, Signed>, nullptr, nullptr,
     tile<2, 6, Signed>},
    {tile<3, 1, Signed>, tile<3, 2, Signed>, tile<3, 3, Signed>},
    {tile<4, 1, Signed>, tile<4, 2, Signed>, tile<4, 3, Signed>},
    {tile<5, 1, Signed>, tile<5, 2, Signed>, tile<5, 3, Signed>},
    {tile<6, 1, Signed>, tile<6, 2, Signed>, tile<6, 3, Signed>},
    {tile<7, 1, Signed>, tile<7, 2, Signed>, tile<7, 3, Signed>},
    {tile<8, 1, Signed>, tile<8, 2, Signed>, tile<8, 3, Signed>},
};

inline std::size_t panels_at_once(std::size_t rows, std::size_t left) {
  if (rows <= 2 && left >= 6) return 6;
  return left >= 3 ? 3 : left;
}

}  // namespace

void gemm_i8_vnni(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  const auto& tiles = job.codes_signed ? kTiles<true> : kTiles<false>;
  walk_tiles<kMaxRows>(job, begin, end, panels_at_once,
                       [&](std::size_t row, std::size_t rows, std::size_t panel,
                           std::size_t panels) { tiles[rows - 1][panels - 1](job, row, panel); });
}

}  // namespace tender::kernels::isa
