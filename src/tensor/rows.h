#pragma once

#include <cstdint>
#include <span>

#include "tensor/matrix.h"

namespace tender {

/// Rows that enter a linear layer. A position lets a method use statistics kept per place in the
/// text.
struct Rows {
  MatrixView<const float> values;           ///< [tokens, in]
  std::span<const std::int32_t> positions;  ///< [tokens], each counted from 0 in its own sequence
};

/// Outputs and inputs of a linear layer: y[tokens, out] = x[tokens, in] * W[out, in]^T.
struct LinearShape {
  std::size_t out = 0;
  std::size_t in = 0;
  friend bool operator==(const LinearShape&, const LinearShape&) = default;
};

}  // namespace tender
