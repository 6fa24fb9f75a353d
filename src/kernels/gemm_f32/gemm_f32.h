#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::kernels {

/// Weights of a linear layer, W[out, in], rearranged for vectors over outputs.
///
///     panel p holds outputs 16p … 16p + 15; element [p][k][j] = W[16p + j][k], zero past `out`
///
/// One layout for every ISA; 64 bytes are one k of a panel.
class PanelsF32 {
 public:
  static constexpr std::size_t kWidth = 16;

  PanelsF32() = default;
  explicit PanelsF32(LinearShape shape);
  /// All outputs at once. @param w  [out, in]
  explicit PanelsF32(MatrixView<const float> w) : PanelsF32(LinearShape{w.rows(), w.cols()}) {
    put(0, w);
  }

  LinearShape shape() const { return shape_; }
  std::size_t panels() const { return (shape_.out + kWidth - 1) / kWidth; }
  const float* panel(std::size_t p) const { return data_.data() + p * shape_.in * kWidth; }
  std::size_t bytes() const { return data_.size() * sizeof(float); }

  /// Sets outputs [first, first + rows.rows()); every row must be set before the first product.
  void put(std::size_t first, MatrixView<const float> rows);
  /// Copies outputs [first, first + rows.rows()) back.
  void take(std::size_t first, MatrixView<float> rows) const;

 private:
  LinearShape shape_;
  AlignedBuffer<float> data_;
};

/// What a kernel works on: all rows of x against the panels [begin, end).
struct GemmF32Task {
  const float* x;  ///< [rows, in], rows x_stride apart
  std::size_t x_stride;
  std::size_t rows;
  const float* panels;  ///< as in PanelsF32, all of them
  std::size_t in;
  std::size_t out;
  const float* bias;  ///< [out], or null
  float* y;           ///< [rows, out], rows y_stride apart
  std::size_t y_stride;
  std::size_t begin;
  std::size_t end;
};

/// y[m, n] = fma(x[m, in-1], W[n, in-1], … fma(x[m, 0], W[n, 0], 0)) + bias[n]: one chain over k in
/// rising order, then one addition if there is a bias. The same bits in every kernel; NaN where the
/// definition gives NaN, whatever its payload.
using GemmF32Fn = void (*)(const GemmF32Task& task);

struct GemmF32Kernel {
  std::string_view name;
  Isa needs;
  GemmF32Fn run;
};

/// Best first; the scalar one is the definition.
std::span<const GemmF32Kernel> gemm_f32_kernels();
const GemmF32Kernel& best_gemm_f32(Isa isa);

/// y[tokens, out] = x[tokens, in] * W^T + bias, panels (or rows, where they are more) shared out
/// among the threads. y must not overlap x.
/// @param bias  [out], or empty
void gemm_f32(const GemmF32Kernel& kernel, MatrixView<const float> x, const PanelsF32& w,
              std::span<const float> bias, MatrixView<float> y, ThreadPool& pool);

}  // namespace tender::kernels
