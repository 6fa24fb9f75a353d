#pragma once

#include <vector>

#include "base/cpu.h"
#include "base/kernel_choice.h"

namespace tender::kernels {

struct GemmF32Kernel;
struct RowKernel;

/// The float kernels that one model runs beside attention, chosen once, at load.
struct FloatKernels {
  const GemmF32Kernel* gemm;
  const RowKernel* rows;
};

FloatKernels best_float_kernels(Isa isa);

/// What `inspect --kernels` says of the kernels of this module.
std::vector<KernelChoice> kernel_choices(Isa detected, Isa allowed);

}  // namespace tender::kernels
