#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::kernels {

/// What is computed on single rows of n numbers. y may be x.
///
/// Sums run over 16 lanes: lane j takes the elements j, j + 16, … in rising order (a missing one is
/// +0), then lanes j and j + 8 are added, j and j + 4, j + 2, j + 1. The same bits in every kernel;
/// NaN where the definition gives NaN.
struct RowKernel {
  std::string_view name;
  Isa needs;
  /// y[i] = weight[i] * (x[i] * r), r = 1 / sqrt(sum(x^2) / n + epsilon). The sum is off by at most
  /// (n / 16 + 5) 2^-24 of itself, r by half of that share and 2 ulp more.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float* y, std::size_t n);
  /// y[i] = (x[i] - m) * r * weight[i] + bias[i] with m the mean, r = 1 / sqrt(mean((x - m)^2) +
  /// epsilon); bias may be null.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon,
                     float* y, std::size_t n);
  /// y[i] = gate[i] / (1 + e^-gate[i]) * up[i]. A gate of -infinity gives NaN.
  void (*silu_mul)(const float* gate, const float* up, float* y, std::size_t n);
  /// y[i] = x[i] + z[i].
  void (*add)(const float* x, const float* z, float* y, std::size_t n);
  /// y[i] = x[i] if x[i] > 0 or x[i] is NaN, else +0.
  void (*relu)(const float* x, float* y, std::size_t n);
};

/// Best first; the scalar one is the definition.
std::span<const RowKernel> row_kernels();
const RowKernel& best_rows(Isa isa);

// The same over all rows of [tokens, width], shared out among the threads. y may be x.

void rms_norm(const RowKernel& kernel, MatrixView<const float> x, std::span<const float> weight,
              float epsilon, MatrixView<float> y, ThreadPool& pool);
/// @param bias  [width], or empty
void layer_norm(const RowKernel& kernel, MatrixView<const float> x, std::span<const float> weight,
                std::span<const float> bias, float epsilon, MatrixView<float> y, ThreadPool& pool);
/// y = x + z.
void add(const RowKernel& kernel, MatrixView<const float> x, MatrixView<const float> z,
         MatrixView<float> y, ThreadPool& pool);
void relu(const RowKernel& kernel, MatrixView<const float> x, MatrixView<float> y,
          ThreadPool& pool);

}  // namespace tender::kernels
