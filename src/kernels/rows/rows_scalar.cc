// The lanes come first: the bodies are written against them.
// clang-format off
#include "kernels/lanes/scalar.h"
#include "kernels/lanes/exp_body.h"
#include "kernels/rows/rows_body.h"
// clang-format on
#include "kernels/rows/rows_kernels.h"

namespace tender::kernels {

constinit const RowKernel rows_scalar = {
    .name = "scalar",
    .needs = Isa::scalar,
    .rms_norm = rms_norm_row,
    .layer_norm = layer_norm_row,
    .silu_mul = silu_mul_row,
    .add = add_row,
    .relu = relu_row,
};

}  // namespace tender::kernels
