#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/gemm_i8/gemm_i8.h"

// The product in tiles of 16 rows x 64 bytes, over instructions (gemm_i8_amx.cc) or their emulation
// (amx_body_test.cc): a machine without them holds the body to the definition all the same. For
// those two files alone: each gets a copy of its own, compiled with its own flags.
//
// A tile of codes is 16 rows x 64 channels; a tile of weights is 16 quads of a panel as it lies, 64
// channels x 16 outputs; a tile of sums is 16 rows x 16 outputs of 32 bits. Four tiles of sums, two
// of codes and two of weights are all eight: 32 rows x 2 panels, four products for four loads. A
// tile cannot be shifted in place: where channels stand in groups, each group's sums go to memory
// and are folded there.
//
// Tiles has, for tile I of rows and J of panels (0 or 1):
//   load_codes<I>(from, stride), load_weights<J>(from), zero<I, J>(), multiply<I, J, Signed>(),
//   store<I, J>(to): 16 rows of 16 sums, kSumStride sums from row to row,
//   fold(to, shift, from, count): to[i] = (to[i] << shift) + from[i] modulo 2^32, 0 from a shift of
//   32 on; from may be null,
//   finish(job, row, output, sums): what becomes of 16 sums of a row.
namespace tender::kernels {
namespace {

constexpr std::size_t kTileRows = 16;
constexpr std::size_t kTileBytes = 64;                 ///< of a row of codes: channels
constexpr std::size_t kTileQuads = 16;                 ///< of a panel
constexpr std::size_t kTile = kTileRows * kTileBytes;  ///< bytes
constexpr std::size_t kSumStride = 32;
constexpr std::size_t kSums = 2 * kTileRows * kSumStride;
/// Panels that stay in L2 while all rows pass by.
constexpr std::size_t kPanelBlockBytes = std::size_t{384} << 10U;

/// 32 rows and two panels or fewer of a job.
struct TileBlock {
  std::size_t row = 0;
  std::size_t rows = 0;
  std::size_t panel = 0;
};

/// 16 rows of codes of 64 channels, at most `rows` and `quads` of them there: as they lie, or
/// copied beside zeros.
struct CodeTile {
  const std::uint8_t* at;
  std::size_t stride;
};
inline CodeTile code_tile(const GemmI8Job& job, std::size_t row, std::size_t rows, std::size_t quad,
                          std::size_t quads, std::uint8_t* scratch) {
  const auto* from = static_cast<const std::uint8_t*>(job.codes) + row * job.stride + 4 * quad;
  if (rows >= kTileRows && quads == kTileQuads) return {from, job.stride};
  std::memset(scratch, 0, kTile);
  for (std::size_t r = 0; r < rows && r < kTileRows; ++r)
    std::memcpy(scratch + r * kTileBytes, from + r * job.stride, 4 * quads);
  return {scratch, kTileBytes};
}

inline const std::uint8_t* weight_tile(const GemmI8Job& job, std::size_t panel, std::size_t quad,
                                       std::size_t quads, std::uint8_t* scratch) {
  const std::uint8_t* from =
      job.panels + (panel - job.first_panel) * job.panel_bytes + quad * PanelsI8::kQuadBytes;
  if (quads == kTileQuads) return from;
  std::memset(scratch, 0, kTile);
  std::memcpy(scratch, from, quads * PanelsI8::kQuadBytes);
  return scratch;
}

template <bool Two, bool Pair, bool Signed, class Tiles>
void multiply_segment(Tiles& tiles, const GemmI8Job& job, const TileBlock& block,
                      const Segment& segment, std::int32_t* sums) {
  alignas(64) std::uint8_t scratch[4][kTile];
  tiles.template zero<0, 0>();
  if constexpr (Pair) tiles.template zero<0, 1>();
  if constexpr (Two) tiles.template zero<1, 0>();
  if constexpr (Two && Pair) tiles.template zero<1, 1>();
  for (std::size_t q = 0; q < segment.quads; q += kTileQuads) {
    const std::size_t quads = segment.quads - q < kTileQuads ? segment.quads - q : kTileQuads;
    const CodeTile upper =
        code_tile(job, block.row, block.rows, segment.codes + q, quads, scratch[0]);
    tiles.template load_codes<0>(upper.at, upper.stride);
    tiles.template load_weights<0>(
        weight_tile(job, block.panel, segment.panel + q, quads, scratch[2]));
    tiles.template multiply<0, 0, Signed>();
    if constexpr (Pair) {
      tiles.template load_weights<1>(
          weight_tile(job, block.panel + 1, segment.panel + q, quads, scratch[3]));
      tiles.template multiply<0, 1, Signed>();
    }
    if constexpr (Two) {
      const CodeTile lower = code_tile(job, block.row + kTileRows, block.rows - kTileRows,
                                       segment.codes + q, quads, scratch[1]);
      tiles.template load_codes<1>(lower.at, lower.stride);
      tiles.template multiply<1, 0, Signed>();
      if constexpr (Pair) tiles.template multiply<1, 1, Signed>();
    }
  }
  tiles.template store<0, 0>(sums);
  if constexpr (Pair) tiles.template store<0, 1>(sums + 16);
  if constexpr (Two) tiles.template store<1, 0>(sums + kTileRows * kSumStride);
  if constexpr (Two && Pair) tiles.template store<1, 1>(sums + kTileRows * kSumStride + 16);
}

template <bool Two, bool Pair, bool Signed, class Tiles>
void multiply_block(Tiles& tiles, const GemmI8Job& job, const TileBlock& block) {
  alignas(64) std::int32_t sums[kSums];
  alignas(64) std::int32_t part[kSums];
  const std::size_t used = (Two ? 2 : 1) * kTileRows * kSumStride;
  bool any = false;
  std::uint32_t shift = 0;
  for (std::size_t s = 0; s < job.segment_count; ++s) {
    const Segment& segment = job.segments[s];
    shift += segment.shift;
    if (segment.quads == 0) continue;
    multiply_segment<Two, Pair, Signed>(tiles, job, block, segment, any ? part : sums);
    if (any) Tiles::fold(sums, shift, part, used);
    any = true;
    shift = 0;
  }
  if (!any) std::memset(sums, 0, sizeof sums);
  if (shift != 0) Tiles::fold(sums, shift, nullptr, used);
  for (std::size_t r = 0; r < block.rows; ++r) {
    Tiles::finish(job, block.row + r, block.panel * 16, sums + r * kSumStride);
    if constexpr (Pair)
      Tiles::finish(job, block.row + r, (block.panel + 1) * 16, sums + r * kSumStride + 16);
  }
}

template <bool Signed, class Tiles>
void multiply_tiles(Tiles& tiles, const GemmI8Job& job, std::size_t begin, std::size_t end) {
  std::size_t at_once = kPanelBlockBytes / (job.panel_bytes + 1) / 2 * 2;
  if (at_once < 2) at_once = 2;
  for (std::size_t first = begin; first < end; first += at_once) {
    const std::size_t last = first + at_once < end ? first + at_once : end;
    for (std::size_t m = 0; m < job.rows; m += 2 * kTileRows) {
      const std::size_t left = job.rows - m;
      const std::size_t rows = left < 2 * kTileRows ? left : 2 * kTileRows;
      for (std::size_t p = first; p < last; p += 2) {
        const TileBlock block{m, rows, p};
        const bool pair = p + 1 < last;
        if (rows > kTileRows && pair)
          multiply_block<true, true, Signed>(tiles, job, block);
        else if (rows > kTileRows)
          multiply_block<true, false, Signed>(tiles, job, block);
        else if (pair)
          multiply_block<false, true, Signed>(tiles, job, block);
        else
          multiply_block<false, false, Signed>(tiles, job, block);
      }
    }
  }
}

}  // namespace
}  // namespace tender::kernels
