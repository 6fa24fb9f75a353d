#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// A fixed orthogonal matrix R for rows of `size` channels: signs, then a Hadamard matrix. Products
/// of rotated rows with rotated weights are those of the rows with the weights, (x R) (w R)ᵀ = x
/// wᵀ, but an outlier channel is spread over all channels (QuaRot: Ashkboos et al. 2024, arXiv
/// 2404.00456).
///
/// size = blocks * order * 2^p. R is block diagonal with blocks D (H_order ⊗ H_2^p)ᵀ / sqrt(block):
/// D signs from the project's random numbers (seed 0, stream "rotation", one draw per channel, its
/// lowest bit), H_2^p Sylvester's, H_order Paley's (Paley 1933): for a prime q of form 4n + 3,
/// order q + 1, else for a prime q of form 4n + 1, order 2 (q + 1). The order is the smallest of
/// odd part * 4, * 8, … up to kMaxOrder that has one; where none has, it is 1 and blocks are the
/// largest power of two in size. 576 = 36 * 16, 1536 = 12 * 128, 28672 = 28 * 1024.
///
/// Sums run in one stated order, in float32: the same bits on every CPU. Cost per channel: p +
/// order additions and two products.
class Rotation {
 public:
  static constexpr std::size_t kMaxOrder = 256;

  Rotation() = default;
  explicit Rotation(std::size_t size);

  std::size_t size() const { return signs_.size(); }
  std::size_t block() const { return order_ << doublings_; }
  std::size_t order() const { return order_; }

  void rotate(std::span<float> row) const;
  /// The inverse, which is the transpose.
  void rotate_back(std::span<float> row) const;

  Matrix rotated(MatrixView<const float> rows) const;
  Matrix rotated(MatrixView<const float> rows, ThreadPool& pool) const;

 private:
  void apply(float* block, const std::vector<float>& hadamard, std::span<float> scratch) const;

  std::size_t order_ = 1;
  std::size_t doublings_ = 0;
  std::vector<float> signs_;       ///< [size], 1 or -1
  std::vector<float> hadamard_;    ///< [order, order], or empty for order 1
  std::vector<float> transposed_;  ///< the same, transposed
};

/// Paley's Hadamard matrix of that order in entries 1 and -1 [order, order]; empty where there is
/// none.
std::vector<float> paley_hadamard(std::size_t order);

}  // namespace tender::quant
