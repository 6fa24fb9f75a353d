#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "tensor/matrix.h"

namespace tender {

/// Writes row m of what enters a linear layer, [in]: a norm, an activation function.
using RowMaker = FunctionRef<void(std::size_t m, std::span<float> row)>;

/// Rows that enter a linear layer. A position lets a method use statistics kept per place in the
/// text.
struct Rows {
  MatrixView<const float> values;           ///< [tokens, in]
  std::span<const std::int32_t> positions;  ///< [tokens], each counted from 0 in its own sequence
  /// Where it is set, `values` has the shape alone and whoever rounds the rows makes each of them,
  /// once, on any thread: it never leaves that core's cache.
  const RowMaker* make = nullptr;

  /// Row m, perhaps made in `room` [in].
  std::span<const float> row(std::size_t m, std::span<float> room) const {
    if (make == nullptr) return values.row(m);
    (*make)(m, room);
    return room;
  }
};

/// Outputs and inputs of a linear layer: y[tokens, out] = x[tokens, in] * W[out, in]^T.
struct LinearShape {
  std::size_t out = 0;
  std::size_t in = 0;
  friend bool operator==(const LinearShape&, const LinearShape&) = default;
};

}  // namespace tender
