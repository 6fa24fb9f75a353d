#pragma once

#include "kernels/rows/rows.h"

namespace tender::kernels {

// Constants, not functions: code compiled for an ISA must not run before it is chosen.
extern const RowKernel rows_scalar;
extern const RowKernel rows_avx2;
extern const RowKernel rows_avx512;

}  // namespace tender::kernels
