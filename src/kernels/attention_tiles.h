#pragma once

#include <cstddef>

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

}  // namespace tender::kernels
