#pragma once

#include <cstddef>

// For the ISA files alone: each gets a copy of its own, compiled with its own flags.
namespace tender::kernels {
namespace {

/// Codes of so many rows stay in L2 beside a group of panels.
constexpr std::size_t kRowBlockBytes = std::size_t{384} << 10U;

/// Calls tile(row, rows, panel, panels) over all rows of a job and its panels [begin, end): a group
/// of panels meets the rows of a block, at most MaxRows at a time, before the next group does.
/// @param at_once  panels of a tile, by the rows of the block and the panels that are left
template <std::size_t MaxRows, class Job, class AtOnce, class Tile>
inline void walk_tiles(const Job& job, std::size_t begin, std::size_t end, AtOnce at_once,
                       Tile tile) {
  std::size_t block = kRowBlockBytes / (job.stride + 1) / MaxRows * MaxRows;
  if (block < MaxRows) block = MaxRows;
  for (std::size_t first = 0; first < job.rows; first += block) {
    const std::size_t last = first + block < job.rows ? first + block : job.rows;
    for (std::size_t p = begin, count = 0; p < end; p += count) {
      count = at_once(last - first, end - p);
      for (std::size_t m = first; m < last; m += MaxRows)
        tile(m, last - m < MaxRows ? last - m : MaxRows, p, count);
    }
  }
}

}  // namespace
}  // namespace tender::kernels
