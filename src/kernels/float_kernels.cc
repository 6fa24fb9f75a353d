#include "kernels/float_kernels.h"

#include "kernels/attention_f32/attention_f32.h"
#include "kernels/attention_i8/attention_i8.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/rows/rows.h"

namespace tender::kernels {

FloatKernels best_float_kernels(Isa isa) { return {&best_gemm_f32(isa), &best_rows(isa)}; }

std::vector<KernelChoice> kernel_choices(Isa detected, Isa allowed) {
  std::vector<KernelChoice> choices;
  describe_kernels("gemm_f32", gemm_f32_kernels(), detected, allowed, choices);
  describe_kernels("rows", row_kernels(), detected, allowed, choices);
  describe_kernels("attention_f32", attention_kernels(), detected, allowed, choices);
  describe_kernels("attention_i8", attention_i8_kernels(), detected, allowed, choices);
  return choices;
}

}  // namespace tender::kernels
