#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_blocks/gemm_blocks.h"
#include "kernels/tile_walk.h"

// 4 rows x 3 panels: 12 integer and 12 float accumulators, 3 weight vectors, a broadcast. Per block
// of 32 a tile has 96 products, 12 conversions and 24 (with minima 36) float operations. One or two
// rows are bound by the read of the panels and run over 4 of them: more streams are slower, fewer
// wait for the chains of products.

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kMaxRows = 4;
constexpr std::size_t kQuads = PanelsBlocks::kBlock / 4;  ///< of a block
constexpr std::size_t kHalves = 32;                       ///< bytes of 16 float16
constexpr std::size_t kSuperBytes = 2 * kHalves + PanelsBlocks::kSuper * 32;
constexpr std::size_t kHalvedBytes = kHalves + PanelsBlocks::kSuper * 32;
/// Bytes of weights that are asked for ahead of a decoded row.
constexpr std::size_t kAhead = 2048;

inline __m512 halves(const std::uint8_t* at) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
inline __m512 bytes(const std::uint8_t* at) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
}
inline __m512 signed_bytes(const std::uint8_t* at) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
}

/// @param part  which scale of the block
template <BlockScales Form>
inline __m512 scale_of(const std::uint8_t* scales, std::size_t block, std::size_t part) {
  if constexpr (Form == BlockScales::half_blocks) {
    const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kHalvedBytes;
    const std::uint8_t* times = super + kHalves + block % PanelsBlocks::kSuper * 32 + part * 16;
    return _mm512_mul_ps(halves(super), signed_bytes(times));
  }
  if constexpr (Form == BlockScales::floats) return _mm512_loadu_ps(scales + block * 64);
  if constexpr (Form == BlockScales::halves) return halves(scales + block * kHalves);
  if constexpr (Form == BlockScales::halves_and_minima) return halves(scales + block * 2 * kHalves);
  const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kSuperBytes;
  return _mm512_mul_ps(halves(super),
                       bytes(super + 2 * kHalves + block % PanelsBlocks::kSuper * 32));
}

template <BlockScales Form>
inline __m512 minimum_of(const std::uint8_t* scales, std::size_t block) {
  if constexpr (Form == BlockScales::halves_and_minima)
    return halves(scales + block * 2 * kHalves + kHalves);
  const std::uint8_t* super = scales + block / PanelsBlocks::kSuper * kSuperBytes;
  const __m512 minimum = _mm512_mul_ps(
      halves(super + kHalves), bytes(super + 2 * kHalves + block % PanelsBlocks::kSuper * 32 + 16));
  return _mm512_xor_ps(minimum, _mm512_set1_ps(-0.0F));
}

constexpr bool has_minima(BlockScales form) {
  return form == BlockScales::halves_and_minima || form == BlockScales::superblocks;
}

inline __m512i quad_of(const std::int8_t* codes) {
  std::int32_t quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm512_set1_epi32(quad);
}

template <std::size_t Rows, std::size_t Panels>
struct Sums {
  __m512i of[Rows][Panels];
};

template <std::size_t Rows, std::size_t Panels>
inline void multiply(Sums<Rows, Panels>& sums, const std::int8_t* codes, std::size_t stride,
                     const __m512i (&weights)[Panels]) {
  for (std::size_t r = 0; r < Rows; ++r) {
    const __m512i x = quad_of(codes + r * stride);
    for (std::size_t p = 0; p < Panels; ++p)
      sums.of[r][p] = _mm512_dpbusd_epi32(sums.of[r][p], weights[p], x);
  }
}

/// @tparam Quads  of inputs: a block, or half of one
template <int Bits, std::size_t Quads, std::size_t Rows, std::size_t Panels>
inline void multiply_block(Sums<Rows, Panels>& sums, const std::int8_t* codes, std::size_t stride,
                           const std::uint8_t* weights, std::size_t panel_bytes) {
  __m512i four[Panels];
  if constexpr (Bits == 8) {
    for (std::size_t q = 0; q < Quads; ++q) {
      for (std::size_t p = 0; p < Panels; ++p)
        four[p] = _mm512_load_si512(weights + p * panel_bytes + 64 * q);
      multiply<Rows, Panels>(sums, codes + 4 * q, stride, four);
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
    for (std::size_t l = 0; l < Quads / 2; ++l) {
      __m512i line[Panels];
      for (std::size_t p = 0; p < Panels; ++p) {
        line[p] = _mm512_load_si512(weights + p * panel_bytes + 64 * l);
        four[p] = _mm512_and_si512(line[p], low);
      }
      multiply<Rows, Panels>(sums, codes + 8 * l, stride, four);
      for (std::size_t p = 0; p < Panels; ++p)
        four[p] = _mm512_and_si512(_mm512_srli_epi16(line[p], 4), low);
      multiply<Rows, Panels>(sums, codes + 8 * l + 4, stride, four);
    }
  }
}

template <int Bits, BlockScales Form, std::size_t Rows, std::size_t Panels>
void tile(const GemmBlocksJob& job, std::size_t row, std::size_t panel) {
  constexpr std::size_t kBytes = PanelsBlocks::kBlock * 16 * Bits / 8;
  const std::int8_t* codes = job.codes + row * job.stride;
  const std::uint8_t* weights = job.panels + panel * job.panel_bytes;
  const std::uint8_t* scales = job.scales + panel * job.panel_scale_bytes;
  const float* steps = job.steps + row * job.blocks;
  const std::int32_t* of_codes = job.sums + 2 * row * job.blocks;
  constexpr std::size_t kParts = scales_in_block(Form);
  __m512 y[Rows][Panels];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < Panels; ++p) y[r][p] = _mm512_setzero_ps();
  for (std::size_t b = 0; b < job.blocks; ++b) {
    if constexpr (Rows <= 2)
      for (std::size_t p = 0; p < Panels; ++p)
        for (std::size_t i = 0; i < kBytes; i += 64)
          _mm_prefetch(reinterpret_cast<const char*>(weights + p * job.panel_bytes + b * kBytes +
                                                     kAhead + i),
                       _MM_HINT_T0);
    for (std::size_t part = 0; part < kParts; ++part) {
      Sums<Rows, Panels> sums;
      for (std::size_t r = 0; r < Rows; ++r) {
        const std::int32_t* two = of_codes + 2 * (r * job.blocks + b);
        const __m512i start =
            _mm512_set1_epi32(-job.zero * (kParts == 2 ? two[part] : two[0] + two[1]));
        for (std::size_t p = 0; p < Panels; ++p) sums.of[r][p] = start;
      }
      multiply_block<Bits, kQuads / kParts, Rows, Panels>(
          sums, codes + b * PanelsBlocks::kBlock + part * PanelsBlocks::kBlock / 2, job.stride,
          weights + b * kBytes + part * kBytes / 2, job.panel_bytes);
      for (std::size_t p = 0; p < Panels; ++p) {
        const __m512 scale = scale_of<Form>(scales + p * job.panel_scale_bytes, b, part);
        for (std::size_t r = 0; r < Rows; ++r) {
          const __m512 by = _mm512_mul_ps(scale, _mm512_set1_ps(steps[r * job.blocks + b]));
          y[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums.of[r][p]), by, y[r][p]);
        }
        if constexpr (has_minima(Form)) {
          const __m512 minimum = minimum_of<Form>(scales + p * job.panel_scale_bytes, b);
          for (std::size_t r = 0; r < Rows; ++r) {
            const std::size_t at = r * job.blocks + b;
            const float times =
                steps[at] * static_cast<float>(of_codes[2 * at] + of_codes[2 * at + 1]);
            y[r][p] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(times), y[r][p]);
          }
        }
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t p = 0; p < Panels; ++p) {
      const std::size_t n = (panel + p) * 16, left = job.out - n;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffffU : (1U << left) - 1U);
      if (job.bias != nullptr)
        y[r][p] = _mm512_add_ps(y[r][p], _mm512_maskz_loadu_ps(mask, job.bias + n));
      _mm512_mask_storeu_ps(job.y + (row + r) * job.y_stride + n, mask, y[r][p]);
    }
}

using TileFn = void (*)(const GemmBlocksJob&, std::size_t, std::size_t);

// [rows - 1][panels - 1]; null where a narrower tile is used.
template <int Bits, BlockScales Form>
constexpr TileFn kTiles[kMaxRows][4] = {
    {tile<Bits, Form, 1, 1>, tile<Bits, Form, 1, 2>, tile<Bits, Form, 1, 3>,
     tile<Bits, Form, 1, 4>},
    {tile<Bits, Form, 2, 1>, tile<Bits, Form, 2, 2>, tile<Bits, Form, 2, 3>,
     tile<Bits, Form, 2, 4>},
    {tile<Bits, Form, 3, 1>, tile<Bits, Form, 3, 2>, tile<Bits, Form, 3, 3>, nullptr},
    {tile<Bits, Form, 4, 1>, tile<Bits, Form, 4, 2>, tile<Bits, Form, 4, 3>, nullptr},
};

using Tiles = const TileFn (*)[4];

template <int Bits>
Tiles tiles_of(BlockScales form) {
  switch (form) {
    case BlockScales::floats:
      return kTiles<Bits, BlockScales::floats>;
    case BlockScales::halves:
      return kTiles<Bits, BlockScales::halves>;
    case BlockScales::halves_and_minima:
      return kTiles<Bits, BlockScales::halves_and_minima>;
    case BlockScales::half_blocks:
      return kTiles<Bits, BlockScales::half_blocks>;
    case BlockScales::superblocks:
      break;
  }
  return kTiles<Bits, BlockScales::superblocks>;
}

inline std::size_t panels_at_once(std::size_t rows, std::size_t left) {
  const std::size_t most = rows <= 2 ? 4 : 3;
  return left < most ? left : most;
}

}  // namespace

void gemm_blocks_vnni(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  const Tiles tiles = job.bits == 8 ? tiles_of<8>(job.form) : tiles_of<4>(job.form);
  walk_tiles<kMaxRows>(job, begin, end, panels_at_once,
                       [&](std::size_t row, std::size_t rows, std::size_t panel,
                           std::size_t panels) { tiles[rows - 1][panels - 1](job, row, panel); });
}

}  // namespace tender::kernels::isa
