#pragma once

#include <algorithm>
#include <cstddef>

#include "base/thread_pool.h"

namespace tender::kernels {

/// Query rows of one KV head cut into tiles that share the loads of keys and values. Work grows
/// with the position, so the tiles are taken from both ends in turn: 0, last, 1, last - 1, …; then
/// any run of them costs about the same per tile.
struct AttentionTiles {
  std::size_t rows;
  std::size_t tile;

  /// Of as many rows as share loads, fewer if threads would stand idle (decoding).
  static AttentionTiles cut(std::size_t rows, std::size_t kv_heads, std::size_t most,
                            std::size_t threads) {
    AttentionTiles tiles{rows, most};
    const bool even = tiles.count() * kv_heads % threads == 0;
    if (!even && tiles.count() * kv_heads < 4 * threads) tiles.tile = 1;
    return tiles;
  }
  std::size_t count() const { return (rows + tile - 1) / tile; }
  /// The tile that is taken i-th.
  std::size_t at(std::size_t i) const { return i % 2 == 0 ? i / 2 : count() - 1 - i / 2; }
};

constexpr std::size_t kPositionsAtOnce = 64;

/// Calls body(first head, end head, begin, end) until all positions [first, first + count) of each
/// KV head were named: at once where they are few, else cut at multiples of kPositionsAtOnce and on
/// all threads, so that no two calls write into the same block of a cache.
template <class Body>
void for_each_positions(std::size_t kv_heads, std::size_t first, std::size_t count,
                        ThreadPool& pool, Body&& body) {
  if (count < kPositionsAtOnce) return body(std::size_t{0}, kv_heads, first, first + count);
  const std::size_t begin = first / kPositionsAtOnce;
  const std::size_t blocks = (first + count - 1) / kPositionsAtOnce + 1 - begin;
  pool.for_each_part(kv_heads * blocks, [&](std::size_t item, std::size_t end) {
    for (; item < end; ++item) {
      const std::size_t head = item / blocks, at = (begin + item % blocks) * kPositionsAtOnce;
      body(head, head + 1, std::max(first, at), std::min(first + count, at + kPositionsAtOnce));
    }
  });
}

}  // namespace tender::kernels
