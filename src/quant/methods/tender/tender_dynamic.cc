#include "quant/methods/tender/tender_dynamic.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/contracts.h"

namespace tender::quant {
namespace {

bool is_finite(std::span<const float> row) {
  bool finite = true;  // without a way out, so that compilers use vectors
  for (const float value : row) finite &= std::abs(value) <= std::numeric_limits<float>::max();
  return finite;
}

RowRounding rounding_of(const TenderInput& input, const TenderChunk& chunk) {
  RowRounding rounding = tender_rounding(input);
  rounding.chunk_groups = 0;
  rounding.chunks = {tender_chunk_rounding(input, chunk.tmax, chunk.bias, chunk.group)};
  return rounding;
}

}  // namespace

std::vector<ChunkRun> chunk_runs(std::span<const std::int32_t> positions, std::size_t chunk_rows) {
  const auto chunk_of = [&](std::int32_t position) {
    return chunk_rows == 0 ? 0 : static_cast<std::size_t>(std::max(position, 0)) / chunk_rows;
  };
  std::vector<ChunkRun> runs;
  for (std::size_t m = 0; m < positions.size(); ++m) {
    const bool goes_on = m > 0 && positions[m - 1] + std::int64_t{1} == positions[m] &&
                         chunk_of(positions[m - 1]) == chunk_of(positions[m]);
    if (!goes_on) runs.push_back({m, m});
    runs.back().end = m + 1;
  }
  return runs;
}

Extremes extremes_of(const TenderInput& input, MatrixView<const float> rows) {
  Extremes extremes{std::vector<float>(input.in, 0.0F), std::vector<float>(input.in, 0.0F)};
  auto& [least, largest] = extremes;
  bool first = !(input.compat && rows.rows() < input.chunk_rows);  // else a row of zeros was first
  for (std::size_t m = 0; m < rows.rows(); ++m) {
    const auto row = rows.row(m);
    if (!is_finite(row)) continue;
    for (std::size_t k = 0; k < input.in; ++k) {
      least[k] = first ? row[k] : std::min(least[k], row[k]);
      largest[k] = first ? row[k] : std::max(largest[k], row[k]);
    }
    first = false;
  }
  return extremes;
}

TenderChunk tender_chunk_of(const TenderInput& input, MatrixView<const float> rows) {
  const Extremes extremes = extremes_of(input, rows);
  return tender_chunk(input, extremes.least, extremes.largest, input.dynamic_bias);
}

std::vector<ChunkOfRows> tender_chunks(const TenderInput& input, const Rows& x, ThreadPool& pool) {
  require(x.positions.size() == x.values.rows(), "every row has a position");
  std::vector<ChunkOfRows> chunks;
  if (input.mode != TenderMode::dynamic) {
    chunks.push_back({0, x.values.rows(), tender_rounding(input)});
    return chunks;
  }
  const std::vector<ChunkRun> runs = chunk_runs(x.positions, input.chunk_rows);
  chunks.resize(runs.size());
  pool.for_each_part(runs.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t c = begin; c < end; ++c) {
      const auto [first, last] = runs[c];
      chunks[c] = {
          first, last,
          rounding_of(input, tender_chunk_of(input, x.values.rows_from(first, last - first)))};
    }
  });
  return chunks;
}

}  // namespace tender::quant
