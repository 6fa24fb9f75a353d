#pragma once

#include "tensor/matrix.h"

namespace tender::quant {

/// y = x * wᵀ in double, the definition of products that are evaluated in float.
/// @param x  [tokens, in]  @param w  [out, in]  @param y  [tokens, out]
void reference_product(MatrixView<const float> x, MatrixView<const float> w, MatrixView<double> y);

}  // namespace tender::quant
