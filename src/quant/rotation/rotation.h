#pragma once

#include <cstddef>
#include <span>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/hadamard/hadamard.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// A fixed orthogonal matrix R for rows of `size` channels: signs (seed 0), then a Hadamard matrix
/// in one block or in several (kernels/hadamard/hadamard.h states the rule). Products of rotated
/// rows with rotated weights are those of the rows with the weights, (x R) (w R)ᵀ = x wᵀ, but an
/// outlier channel is spread over its block (QuaRot: Ashkboos et al. 2024, arXiv 2404.00456).
///
/// Rows turn in float32, with the same bits on every CPU and for any number of threads; weights in
/// double, rounded once.
class Rotation {
 public:
  Rotation() = default;
  /// @param isa  whose kernel turns the rows
  explicit Rotation(std::size_t size, Isa isa = host_isa());

  std::size_t size() const { return hadamard_.width(); }
  std::size_t block() const { return hadamard_.order() * hadamard_.power(); }
  std::size_t order() const { return hadamard_.order(); }

  /// One row. @param scratch  [block()]  @param out  [size()], all three apart
  void rotate(std::span<const float> row, std::span<float> scratch, std::span<float> out) const;
  Matrix rotated(MatrixView<const float> rows) const;
  Matrix rotated(MatrixView<const float> rows, ThreadPool& pool) const;

  /// @param w  [out, size]
  Matrix rotated_weights(MatrixView<const float> w, ThreadPool& pool) const;
  /// The inverse, which is the transpose, in place.
  void rotate_weights_back(MatrixView<float> w) const;

 private:
  void rotate(MatrixView<const float> rows, MatrixView<float> out) const;

  kernels::Hadamard hadamard_;
  const kernels::HadamardKernel* kernel_ = nullptr;
};

}  // namespace tender::quant
