#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "tensor/matrix.h"

namespace tender {

/// The largest |x|; 0 of nothing. A NaN is passed over.
inline float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}
inline float largest_magnitude(MatrixView<const float> rows) {
  float largest = 0;
  for (std::size_t r = 0; r < rows.rows(); ++r)
    largest = std::max(largest, largest_magnitude(rows.row(r)));
  return largest;
}

}  // namespace tender
