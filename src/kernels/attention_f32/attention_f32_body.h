#pragma once

// Included after one of lanes/*.h, lanes/exp_body.h, lanes/softmax_body.h and lanes/tile_body.h.
//
// A tile of query rows takes each block of keys and values once for all of them. Scores of a whole
// row are kept, so that its maximum is known before the first exponential: a running maximum would
// make the bits depend on how keys are cut into blocks.

#include "kernels/attention_f32/attention_f32_kernels.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kBlock = 16;

Seen seen_by(const AttentionTask& task, std::size_t row) {
  const std::size_t end = task.first_position + row / task.group + 1;
  return {task.window != 0 && end > task.window ? end - task.window : 0, end};
}

std::size_t q_offset(const AttentionTask& task, std::size_t row, std::size_t stride) {
  return row / task.group * stride + (task.first_head + row % task.group) * task.head_width;
}

/// Rows [first, first + rows) of the task and their parts of the scratch.
struct QueryTile {
  std::size_t first;
  std::size_t rows;
  float* scores;  ///< [rows][score_stride], by absolute position
  std::size_t score_stride;
  float* q;     ///< [rows][value_stride]
  float* sums;  ///< [rows][value_stride]
};

/// Raw scores of all blocks that any row of the tile sees; the ends of blocks may be beyond the
/// cache.
void tile_scores(const AttentionTask& task, const QueryTile& tile) {
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const float* q = task.q + q_offset(task, tile.first + r, task.q_stride);
    for (std::size_t d = 0; d < task.head_width; ++d) tile.q[r * task.value_stride + d] = q[d];
  }
  const std::size_t begin = seen_by(task, tile.first).begin / kBlock;
  const std::size_t end = (seen_by(task, tile.first + tile.rows - 1).end + kBlock - 1) / kBlock;
  const std::size_t block_floats = task.head_width * kBlock;
  wide_product(tile.rows, end - begin,
               {tile.q, task.value_stride, task.keys + begin * block_floats, kBlock, block_floats},
               task.head_width, {tile.scores + begin * kBlock, tile.score_stride, kBlock, true});
}

/// sums[r] += p * V over the keys [begin, end), for rows r … r + rows - 1 of the tile.
void add_values(const AttentionTask& task, const QueryTile& tile, std::size_t r, std::size_t rows,
                Seen keys, bool from_zero) {
  if (keys.begin >= keys.end && !from_zero) return;
  const std::size_t depth = keys.end > keys.begin ? keys.end - keys.begin : 0;
  wide_product(rows, task.value_stride / kBlock,
               {tile.scores + r * tile.score_stride + keys.begin, tile.score_stride,
                task.values + keys.begin * task.value_stride, task.value_stride, kBlock},
               depth, {tile.sums + r * task.value_stride, task.value_stride, kBlock, from_zero});
}

/// Each row's chain runs over exactly the keys that it sees: first those that the window of others
/// hides, then those that all rows see, together, then those that others do not see yet.
void tile_values(const AttentionTask& task, const QueryTile& tile) {
  const std::size_t common = seen_by(task, tile.first + tile.rows - 1).begin;
  const std::size_t first_end = seen_by(task, tile.first).end;
  const std::size_t common_end = first_end > common ? first_end : common;
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const Seen seen = seen_by(task, tile.first + r);
    add_values(task, tile, r, 1, {seen.begin, common < seen.end ? common : seen.end}, true);
  }
  add_values(task, tile, 0, tile.rows, {common, common_end}, false);
  for (std::size_t r = 0; r < tile.rows; ++r)
    add_values(task, tile, r, 1, {common_end, seen_by(task, tile.first + r).end}, false);
}

void attend_tile(const AttentionTask& task, const QueryTile& tile) {
  tile_scores(task, tile);
  float totals[kTileRows];
  for (std::size_t r = 0; r < tile.rows; ++r)
    totals[r] = exponentials(tile.scores + r * tile.score_stride, seen_by(task, tile.first + r),
                             task.scale);
  tile_values(task, tile);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    float* out = task.out + q_offset(task, tile.first + r, task.out_stride);
    const float* sums = tile.sums + r * task.value_stride;
    for (std::size_t d = 0; d < task.head_width; ++d) out[d] = sums[d] / totals[r];
  }
}

void attention_f32_body(const AttentionTask& task) {
  const std::size_t positions = seen_by(task, task.end - 1).end;
  const std::size_t score_stride = (positions + kBlock - 1) / kBlock * kBlock;
  for (std::size_t first = task.begin; first < task.end; first += kTileRows) {
    const std::size_t rows = task.end - first < kTileRows ? task.end - first : kTileRows;
    float* q = task.scratch + kTileRows * score_stride;
    attend_tile(task,
                {first, rows, task.scratch, score_stride, q, q + kTileRows * task.value_stride});
  }
}

}  // namespace
}  // namespace tender::kernels
