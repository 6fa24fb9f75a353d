#pragma once

namespace tender::kernels {

/// Bits of the integers that attention computes with, 8 or 4 each.
struct AttentionBits {
  int rows = 8;   ///< of queries (signed) and of probabilities (unsigned)
  int cache = 8;  ///< of keys and values (signed), as stored
  friend bool operator==(const AttentionBits&, const AttentionBits&) = default;
};

}  // namespace tender::kernels
