#pragma once

// Included after one of lanes/*.h and lanes/tile_body.h.
//
// A block of rows and inputs stays in L2 while all panels pass, a few at a time. Between blocks of
// inputs the sums lie in y, unrounded.

#include "kernels/gemm_f32/gemm_f32.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kPanel = 16;
// 256 rows (192 with AVX2) of 384 inputs are 384 KiB, and three panels of them 72 KiB: together
// half of a 1 MiB L2. On Zen 4 with 512x2048x2048: 93 % of peak; 86 % with 256 inputs, 82 % with
// 128 (sums go through y more often), 79 to 94 % with 512 (the panel of AVX2 then fills L1).
constexpr std::size_t kTilesPerBlock = 32;
constexpr std::size_t kDepth = 384;

struct GemmBlock {
  std::size_t first_row;
  std::size_t rows;
  std::size_t first_k;
  std::size_t depth;
};

/// One tile of rows against `columns` panels from p on.
void gemm_tile(const GemmF32Task& task, const GemmBlock& block, std::size_t row, std::size_t rows,
               std::size_t p, std::size_t columns) {
  const std::size_t panel_floats = task.in * kPanel;
  const Factors factors{task.x + row * task.x_stride + block.first_k, task.x_stride,
                        task.panels + p * panel_floats + block.first_k * kPanel, kPanel,
                        panel_floats};
  float* y = task.y + row * task.y_stride + p * kPanel;
  const bool from_zero = block.first_k == 0;
  if ((p + columns) * kPanel <= task.out)
    return small_product(rows, columns, factors, block.depth,
                         {y, task.y_stride, kPanel, from_zero});
  // The last panel reaches past the outputs: sums pass through a buffer.
  float edge[kTileRows * 8 * kPanel];
  const std::size_t left = task.out - p * kPanel, stride = columns * kPanel;
  for (std::size_t r = 0; r < rows && !from_zero; ++r)
    for (std::size_t n = 0; n < stride; ++n)
      edge[r * stride + n] = n < left ? y[r * task.y_stride + n] : 0.0F;
  small_product(rows, columns, factors, block.depth, {edge, stride, kPanel, from_zero});
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t n = 0; n < left; ++n) y[r * task.y_stride + n] = edge[r * stride + n];
}

/// Panels that go through the rows together.
std::size_t panel_step(std::size_t rows, std::size_t left) {
  switch (rows) {
    case 1:
      return next_columns<1>(left);
    case 2:
      return next_columns<2>(left);
    case 3:
      return next_columns<3>(left);
    case 4:
      return next_columns<4>(left);
    default:
      return next_columns<kTileRows>(left);
  }
}

void gemm_block(const GemmF32Task& task, const GemmBlock& block) {
  const std::size_t end = block.first_row + block.rows;
  for (std::size_t p = task.begin; p < task.end;) {
    const std::size_t columns = panel_step(block.rows, task.end - p);
    for (std::size_t row = block.first_row; row < end; row += kTileRows)
      gemm_tile(task, block, row, end - row < kTileRows ? end - row : kTileRows, p, columns);
    p += columns;
  }
}

void add_bias(const GemmF32Task& task, const GemmBlock& block) {
  const std::size_t first = task.begin * kPanel;
  const std::size_t end = task.end * kPanel < task.out ? task.end * kPanel : task.out;
  for (std::size_t row = block.first_row; row < block.first_row + block.rows; ++row) {
    float* y = task.y + row * task.y_stride;
    for (std::size_t n = first; n < end; ++n) y[n] = y[n] + task.bias[n];
  }
}

void gemm_f32_body(const GemmF32Task& task) {
  const std::size_t row_block = kTileRows * kTilesPerBlock;
  for (std::size_t row = 0; row < task.rows; row += row_block) {
    GemmBlock block{row, task.rows - row < row_block ? task.rows - row : row_block, 0, 0};
    // A single tile reads its panels once: they are streamed from end to end.
    const std::size_t most = block.rows <= kTileRows ? task.in : kDepth;
    do {
      block.depth = task.in - block.first_k < most ? task.in - block.first_k : most;
      gemm_block(task, block);
      block.first_k += block.depth;
    } while (block.first_k < task.in);
    if (task.bias != nullptr) add_bias(task, block);
  }
}

}  // namespace
}  // namespace tender::kernels
