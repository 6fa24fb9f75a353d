#pragma once

#include "kernels/gemm_f32/gemm_f32.h"

namespace tender::kernels {

void gemm_f32_scalar(const GemmF32Task& task);
void gemm_f32_avx2(const GemmF32Task& task);
void gemm_f32_avx512(const GemmF32Task& task);

}  // namespace tender::kernels
