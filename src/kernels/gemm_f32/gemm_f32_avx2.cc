// The lanes come first: the bodies are written against them.
// clang-format off
#include "kernels/lanes/avx2.h"
#include "kernels/lanes/tile_body.h"
#include "kernels/gemm_f32/gemm_f32_body.h"
// clang-format on
#include "kernels/gemm_f32/gemm_f32_kernels.h"

namespace tender::kernels {

void gemm_f32_avx2(const GemmF32Task& task) { gemm_f32_body(task); }

}  // namespace tender::kernels
