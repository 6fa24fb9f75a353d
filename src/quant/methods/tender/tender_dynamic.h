#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/integer/row_rounding.h"
#include "quant/methods/tender/tender_rows.h"
#include "tensor/rows.h"

namespace tender::quant {

/// Rows of one matrix that share a chunk of dynamic mode: they follow each other, each at the
/// position after that of the row before, with the same position / chunk_rows. Rows of a matrix
/// carry no name of their sequence, so a sequence ends where positions do not go on; a chunk that a
/// forward call cuts is two chunks.
struct ChunkRun {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(const ChunkRun&, const ChunkRun&) = default;
};
/// @param chunk_rows  positions per chunk, 0 for as many as follow each other
std::vector<ChunkRun> chunk_runs(std::span<const std::int32_t> positions, std::size_t chunk_rows);

/// Of each channel, over the rows of a chunk. Rows that are not finite stand outside; with compat
/// numerics zero rows fill up what the chunk lacks (tender.md 2.3).
struct Extremes {
  std::vector<float> least;    ///< [in]
  std::vector<float> largest;  ///< [in]
};
Extremes extremes_of(const TenderInput& input, MatrixView<const float> rows);

/// Metadata from the rows of the chunk themselves (tender.md 2.4, 2.5).
TenderChunk tender_chunk_of(const TenderInput& input, MatrixView<const float> rows);

/// By what the rows of one call are rounded, with clean numerics. Outside of dynamic mode one entry
/// for all of them.
/// @param x  in the basis in which they are rounded
std::vector<ChunkOfRows> tender_chunks(const TenderInput& input, const Rows& x, ThreadPool& pool);

}  // namespace tender::quant
