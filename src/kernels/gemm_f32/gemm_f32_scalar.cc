#include <algorithm>
#include <cmath>

#include "kernels/gemm_f32/gemm_f32_kernels.h"

namespace tender::kernels {

void gemm_f32_scalar(const GemmF32Task& task) {
  constexpr std::size_t kWidth = PanelsF32::kWidth;
  for (std::size_t m = 0; m < task.rows; ++m) {
    const float* x = task.x + m * task.x_stride;
    float* y = task.y + m * task.y_stride;
    for (std::size_t n = task.begin * kWidth; n < std::min(task.out, task.end * kWidth); ++n) {
      const float* w = task.panels + n / kWidth * task.in * kWidth + n % kWidth;
      float sum = 0;
      for (std::size_t k = 0; k < task.in; ++k) sum = std::fma(x[k], w[k * kWidth], sum);
      y[n] = task.bias == nullptr ? sum : sum + task.bias[n];
    }
  }
}

}  // namespace tender::kernels
