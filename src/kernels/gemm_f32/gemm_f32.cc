#include "kernels/gemm_f32/gemm_f32.h"

#include <algorithm>
#include <array>

#include "base/contracts.h"
#include "base/kernel_choice.h"
#include "kernels/gemm_f32/gemm_f32_kernels.h"

namespace tender::kernels {
namespace {

constexpr std::array kKernels = {
#if defined(__x86_64__)
    GemmF32Kernel{.name = "avx512", .needs = Isa::avx2 | Isa::avx512, .run = gemm_f32_avx512},
    GemmF32Kernel{.name = "avx2", .needs = Isa::avx2, .run = gemm_f32_avx2},
#endif
    GemmF32Kernel{.name = "scalar", .needs = Isa::scalar, .run = gemm_f32_scalar},
};

// Rows that go through the weights together in the widest kernel; a cut by rows keeps them whole.
constexpr std::size_t kRowUnit = 24;

}  // namespace

PanelsF32::PanelsF32(LinearShape shape) : shape_(shape), data_(panels() * shape.in * kWidth) {
  if (shape.out % kWidth == 0 || shape.in == 0) return;
  const std::size_t last = (panels() - 1) * shape.in * kWidth;
  std::fill(data_.begin() + last, data_.end(), 0.0F);
}

void PanelsF32::put(std::size_t first, MatrixView<const float> rows) {
  require(rows.cols() == shape_.in && first + rows.rows() <= shape_.out,
          "rows are rows of W[out, in]");
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const std::size_t n = first + r;
    const float* from = rows.row(r).data();
    float* to = data_.data() + n / kWidth * shape_.in * kWidth + n % kWidth;
    for (std::size_t k = 0; k < shape_.in; ++k) to[k * kWidth] = from[k];
  }
}

void PanelsF32::take(std::size_t first, MatrixView<float> rows) const {
  require(rows.cols() == shape_.in && first + rows.rows() <= shape_.out,
          "rows are rows of W[out, in]");
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const std::size_t n = first + r;
    const float* from = panel(n / kWidth) + n % kWidth;
    float* to = rows.row(r).data();
    for (std::size_t k = 0; k < shape_.in; ++k) to[k] = from[k * kWidth];
  }
}

std::span<const GemmF32Kernel> gemm_f32_kernels() { return kKernels; }
const GemmF32Kernel& best_gemm_f32(Isa isa) { return best_kernel(kKernels, isa); }

void gemm_f32(const GemmF32Kernel& kernel, MatrixView<const float> x, const PanelsF32& w,
              std::span<const float> bias, MatrixView<float> y, ThreadPool& pool) {
  const LinearShape shape = w.shape();
  require(x.cols() == shape.in && y.cols() == shape.out && x.rows() == y.rows(),
          "y[tokens, out] = x[tokens, in] * W[out, in]^T");
  require(bias.empty() || bias.size() == shape.out, "a bias has one number per output");
  const GemmF32Task whole{.x = x.data(),
                          .x_stride = x.stride(),
                          .rows = x.rows(),
                          .panels = w.panel(0),
                          .in = shape.in,
                          .out = shape.out,
                          .bias = bias.empty() ? nullptr : bias.data(),
                          .y = y.data(),
                          .y_stride = y.stride(),
                          .begin = 0,
                          .end = w.panels()};
  if (x.rows() == 0 || shape.out == 0) return;
  const bool by_rows = w.panels() < 3 * pool.threads() && x.rows() >= kRowUnit * pool.threads();
  if (by_rows) {
    pool.for_each_part(x.rows(), kRowUnit, [&](std::size_t begin, std::size_t end) {
      GemmF32Task task = whole;
      task.x += begin * task.x_stride;
      task.y += begin * task.y_stride;
      task.rows = end - begin;
      kernel.run(task);
    });
    return;
  }
  pool.for_each_part(w.panels(), [&](std::size_t begin, std::size_t end) {
    GemmF32Task task = whole;
    task.begin = begin;
    task.end = end;
    kernel.run(task);
  });
}

}  // namespace tender::kernels
