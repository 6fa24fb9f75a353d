#pragma once

// Included after one of lanes/*.h, lanes/exp_body.h and lanes/softmax_body.h, and after what the
// ISA file defines on its integers:
//
//     I16            sixteen int32 lanes                 Line   64 bytes, a quad of bytes per lane
//     I16 splat(n);  F16 to_float(I16)  Line load_line(p), low(line), high(line)
//     I16 dot_keys(acc, line, q)        acc + sum of four of codes and the signed bytes of q
//     I16 dot_low_keys(acc, line, q)    the same for codes in [0, 15]
//     I16 dot_values(acc, w, line)      the same for the unsigned bytes of w and signed codes
//     Line less_eight(line)             of every byte
//     void store_codes(p, x)            sixteen bytes, x rounded to the nearest, ties to even
//     kKeyOffset                        what dot_keys() takes the codes to be above the keys
//
// A tile of query rows takes each line of keys and values once for all of them.

#include <cstring>

#include "kernels/attention_i8/attention_i8_kernels.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kBlock = 64;
constexpr std::size_t kLineBytes = 64;
/// Columns of a tile: sums of all rows and a line for each of them, beside what meets the lines.
constexpr std::size_t columns_for(std::size_t rows) {
  const std::size_t columns = (kTileRegisters - 1) / (rows + 1);
  return columns > 4 ? 4 : columns == 0 ? 1 : columns;
}

Seen seen_by(const AttentionI8Task& task, std::size_t row) {
  const std::size_t end = task.first_position + row / task.group + 1;
  return {task.window != 0 && end > task.window ? end - task.window : 0, end};
}

/// Rows [first, first + rows) of the task and their parts of the scratch.
struct RowTile {
  std::size_t first;
  std::size_t rows;
  float* scores;        ///< [rows][score_stride], by absolute position
  std::uint8_t* codes;  ///< likewise
  float* steps;         ///< [rows][step_stride], by block
  float* sums;          ///< [rows][value_stride]
  std::size_t score_stride;
  std::size_t step_stride;
};

/// Lanes of the sixteen keys from j on that lie before `end`.
inline std::size_t lanes_before(std::size_t end, std::size_t j) {
  return end <= j ? 0 : end < j + kLanes ? end - j : kLanes;
}

inline int quad_at(const void* bytes) {
  int quad = 0;
  std::memcpy(&quad, bytes, sizeof quad);
  return quad;
}

/// Scores of `Rows` rows, from r on, for the sixteens [sixteen, sixteen + Columns) of keys.
template <std::size_t Rows, std::size_t Columns, bool Nibbles>
void score_tile(const AttentionI8Task& task, const RowTile& tile, std::size_t r,
                std::size_t sixteen) {
  const std::size_t lines = task.q_stride / (Nibbles ? 8 : 4);
  const std::uint8_t* keys = task.keys + sixteen * lines * kLineBytes;
  const std::int8_t* q = task.q + (tile.first + r) * task.q_stride;
  I16 sum[Rows][Columns];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i) {
    // What the codes of the keys are too high by is taken off before it comes.
    const int above = (Nibbles ? 8 : kKeyOffset) * task.q_sums[tile.first + r + i];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c) sum[i][c] = splat(-above);
  }
  for (std::size_t l = 0; l < lines; ++l, keys += kLineBytes, q += Nibbles ? 8 : 4) {
    Line line[Columns];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c) line[c] = load_line(keys + c * lines * kLineBytes);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < Columns; ++c) {
        if constexpr (Nibbles) {
          sum[i][c] = dot_low_keys(sum[i][c], low(line[c]), quad_at(q + i * task.q_stride));
          sum[i][c] = dot_low_keys(sum[i][c], high(line[c]), quad_at(q + i * task.q_stride + 4));
        } else {
          sum[i][c] = dot_keys(sum[i][c], line[c], quad_at(q + i * task.q_stride));
        }
      }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i) {
    float* scores = tile.scores + (r + i) * tile.score_stride + sixteen * kLanes;
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c)
      store(scores + c * kLanes,
            mul(to_float(sum[i][c]), load(task.key_steps + (sixteen + c) * kLanes)));
  }
}

template <std::size_t Rows, bool Nibbles>
void score_rows(const AttentionI8Task& task, const RowTile& tile, std::size_t r) {
  constexpr std::size_t kColumns = columns_for(Rows);
  std::size_t at = seen_by(task, tile.first).begin / kLanes;
  const std::size_t end = (seen_by(task, tile.first + tile.rows - 1).end + kLanes - 1) / kLanes;
  for (; at + kColumns <= end; at += kColumns)
    score_tile<Rows, kColumns, Nibbles>(task, tile, r, at);
  for (; at < end; ++at) score_tile<Rows, 1, Nibbles>(task, tile, r, at);
}

/// Codes and steps of the weights of row r of the tile, in the blocks of keys that it sees.
void round_weights(const AttentionI8Task& task, const RowTile& tile, std::size_t r, Seen seen) {
  const float* scores = tile.scores + r * tile.score_stride;
  std::uint8_t* codes = tile.codes + r * tile.score_stride;
  for (std::size_t b = seen.begin / kBlock; b * kBlock < seen.end; ++b) {
    const std::size_t first = b * kBlock;
    const bool whole = seen.begin <= first && seen.end >= first + kBlock;
    F16 w[kBlock / kLanes];
    F16 highest = zero();
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kBlock / kLanes; ++i) {
      const std::size_t j = first + i * kLanes;
      w[i] = zero();
      const auto of_all = [&] { return mul(load(scores + j), load(task.value_steps + j)); };
      if (whole) {
        w[i] = of_all();
      } else if (const std::size_t from = lanes_before(seen.begin, j),
                 to = lanes_before(seen.end, j);
                 from < to) {  // nothing was written in the others
        w[i] = select(from, to, of_all(), zero());
      }
      highest = max(w[i], highest);
    }
    const float top = max_of_lanes(highest);
    const bool usable = top >= 0x1p-100F;
    const F16 factor = set1(usable ? task.most / top : 0.0F);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kBlock / kLanes; ++i)
      store_codes(codes + first + i * kLanes, min(mul(w[i], factor), set1(task.most)));
    tile.steps[r * tile.step_stride + b] = usable ? top / task.most : 0.0F;
  }
}

/// Adds what the keys of block b give to columns [column, column + Columns) of `Rows` rows.
template <std::size_t Rows, std::size_t Columns, bool Nibbles>
void value_tile(const AttentionI8Task& task, const RowTile& tile, std::size_t r, std::size_t b,
                std::size_t column) {
  const std::size_t lines = kBlock / (Nibbles ? 8 : 4);
  const std::size_t line_stride = task.value_stride * 4;
  const std::uint8_t* values = task.values + b * lines * line_stride + column * kLineBytes;
  const std::uint8_t* w = tile.codes + r * tile.score_stride + b * kBlock;
  I16 sum[Rows][Columns];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c) sum[i][c] = splat(0);
  for (std::size_t l = 0; l < lines; ++l, values += line_stride) {
    Line line[Columns];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c) line[c] = load_line(values + c * kLineBytes);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Rows; ++i) {
      const std::uint8_t* codes = w + i * tile.score_stride;
#pragma GCC unroll 8
      for (std::size_t c = 0; c < Columns; ++c) {
        if constexpr (Nibbles) {
          sum[i][c] = dot_values(sum[i][c], quad_at(codes + 8 * l), less_eight(low(line[c])));
          sum[i][c] = dot_values(sum[i][c], quad_at(codes + 8 * l + 4), less_eight(high(line[c])));
        } else {
          sum[i][c] = dot_values(sum[i][c], quad_at(codes + 4 * l), line[c]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < Rows; ++i) {
    const Seen seen = seen_by(task, tile.first + r + i);
    if (seen.end <= b * kBlock || seen.begin >= (b + 1) * kBlock) continue;
    const F16 step = set1(tile.steps[(r + i) * tile.step_stride + b]);
    float* sums = tile.sums + (r + i) * task.value_stride + column * kLanes;
#pragma GCC unroll 8
    for (std::size_t c = 0; c < Columns; ++c)
      store(sums + c * kLanes, fma(to_float(sum[i][c]), step, load(sums + c * kLanes)));
  }
}

template <std::size_t Rows, bool Nibbles>
void value_rows(const AttentionI8Task& task, const RowTile& tile, std::size_t r) {
  constexpr std::size_t kColumns = columns_for(Rows);
  const std::size_t columns = task.value_stride / kLanes;
  const std::size_t end = seen_by(task, tile.first + tile.rows - 1).end;
  for (std::size_t i = 0; i < Rows; ++i)
    for (std::size_t d = 0; d < task.value_stride; d += kLanes)
      store(tile.sums + (r + i) * task.value_stride + d, zero());
  for (std::size_t b = seen_by(task, tile.first).begin / kBlock; b * kBlock < end; ++b) {
    std::size_t c = 0;
    for (; c + kColumns <= columns; c += kColumns)
      value_tile<Rows, kColumns, Nibbles>(task, tile, r, b, c);
    for (; c < columns; ++c) value_tile<Rows, 1, Nibbles>(task, tile, r, b, c);
  }
}

/// What a step does with some rows of a tile: [rows - 1].
using RowsFn = void (*)(const AttentionI8Task&, const RowTile&, std::size_t);
constexpr std::size_t kMostRows = 4;  // of one step: with 4 columns they fill the registers

template <bool Nibbles>
constexpr RowsFn kScores[kMostRows] = {score_rows<1, Nibbles>, score_rows<2, Nibbles>,
                                       score_rows<3, Nibbles>, score_rows<4, Nibbles>};
template <bool Nibbles>
constexpr RowsFn kValues[kMostRows] = {value_rows<1, Nibbles>, value_rows<2, Nibbles>,
                                       value_rows<3, Nibbles>, value_rows<4, Nibbles>};

void for_rows(const RowsFn (&steps)[kMostRows], const AttentionI8Task& task, const RowTile& tile) {
  for (std::size_t r = 0; r < tile.rows; r += kMostRows) {
    const std::size_t left = tile.rows - r;
    steps[(left < kMostRows ? left : kMostRows) - 1](task, tile, r);
  }
}

void attend_tile(const AttentionI8Task& task, const RowTile& tile) {
  for_rows(task.nibbles ? kScores<true> : kScores<false>, task, tile);
  float totals[kTileRows];
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const Seen seen = seen_by(task, tile.first + r);
    totals[r] =
        exponentials(tile.scores + r * tile.score_stride, seen, task.q_factors[tile.first + r]);
    round_weights(task, tile, r, seen);
  }
  for_rows(task.nibbles ? kValues<true> : kValues<false>, task, tile);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const std::size_t row = tile.first + r;
    float* out = task.out + row / task.group * task.out_stride +
                 (task.first_head + row % task.group) * task.head_width;
    const float* sums = tile.sums + r * task.value_stride;
    for (std::size_t d = 0; d < task.head_width; ++d) {
      const float mean = sums[d] / totals[r];
      out[d] = task.value_factors == nullptr ? mean : mean * task.value_factors[d];
    }
  }
}

void attention_i8_body(const AttentionI8Task& task) {
  const AttentionI8Scratch sizes(seen_by(task, task.end - 1).end, task.value_stride);
  for (std::size_t first = task.begin; first < task.end; first += kTileRows) {
    const std::size_t rows = task.end - first < kTileRows ? task.end - first : kTileRows;
    float* codes = task.scratch + kTileRows * sizes.score_stride;
    float* steps = codes + kTileRows * sizes.score_stride / 4;
    attend_tile(task,
                {first, rows, task.scratch, reinterpret_cast<std::uint8_t*>(codes), steps,
                 steps + kTileRows * sizes.step_stride, sizes.score_stride, sizes.step_stride});
  }
}

}  // namespace
}  // namespace tender::kernels
