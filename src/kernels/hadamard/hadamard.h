#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "tensor/matrix.h"

namespace tender::kernels {

/// A rotation as the ISA files read it: width = blocks * order * power. Where `pairs` is not 0, M
/// is made of a conference matrix C of half its order (conference.h), up to the order and signs of
/// rows and columns.
struct HadamardJob {
  std::size_t blocks = 0;
  std::size_t order = 1;         ///< 1, or a multiple of 4
  std::size_t power = 1;         ///< a power of two
  const float* signs = nullptr;  ///< [width], 1 or -1
  const float* mix = nullptr;    ///< [order, order], M[a][b] at a * order + b; 1 or -1, M[0][b] = 1
  float scale = 1;               ///< 1 / sqrt(order * power)

  std::size_t pairs = 0;                   ///< order / 2: 6, 14 or 18; or 0
  const std::uint32_t* rows = nullptr;     ///< [order]: a of u_0, v_0, u_1, v_1, …
  const std::uint32_t* outputs = nullptr;  ///< [order]: b of even_0, odd_0, even_1, …
  const float* output_scales = nullptr;    ///< [order], scale or -scale
};

/// y = x * V for one row, in float32. In every block of order * power channels, seen as [order,
/// power]:
///
///     t[a][j] = x[a][j] * signs[a][j]
///     for h = 1, 2, 4 … power / 2, in every row a, for each j without the bit h:
///         t[a][j], t[a][j + h] = t[a][j] + t[a][j + h], t[a][j] - t[a][j + h]
///     y[b][j] = (t[0][j] + M[1][b] * t[1][j] + M[2][b] * t[2][j] + …) * scale
///
/// or, where there are pairs u_i, v_i = t[rows[2 i]], t[rows[2 i + 1]],
///
///     s_i, d_i = u_i + v_i, u_i - v_i
///     y[outputs[2 k]] = (d_k + C[0][k] * s_0 + C[1][k] * s_1 + …) * output_scales[2 k]
///     y[outputs[2 k + 1]] = (-s_k + C[0][k] * d_0 + C[1][k] * d_1 + …) * output_scales[2 k + 1]
///
/// without the terms where C is 0, with half as many additions; every operation rounded: the same
/// bits in every kernel. @param t [order * power], scratch; x, t and y are apart
using RotateRowFn = void (*)(const HadamardJob& job, const float* x, float* t, float* y);

struct HadamardKernel {
  std::string_view name;
  Isa needs;
  RotateRowFn rotate;
};
/// Best first; the scalar one is the definition.
std::span<const HadamardKernel> hadamard_kernels();
const HadamardKernel& best_hadamard(Isa isa);

/// An orthonormal matrix V [width, width] that is cheap to multiply by: block-diagonal, every block
/// diag(signs) * (M ⊗ F) / sqrt(order * power) with M a Hadamard matrix of that order and F the
/// Sylvester one.
class Hadamard {
 public:
  Hadamard() = default;
  /// One block where a Hadamard matrix is known for m = 4, 8, 16 … times the odd part of the width,
  /// up to 256: the smallest such m, times what is left, a power of two. Else blocks of the largest
  /// power of two that divides the width. Signs are drawn from the seed.
  Hadamard(std::size_t width, std::uint32_t seed);
  /// @param order  one that paley_matrix() has; order * power, a power of two, divides the width
  Hadamard(std::size_t width, std::size_t order, std::size_t power, std::uint32_t seed);

  std::size_t width() const { return width_; }
  std::size_t order() const { return order_; }
  std::size_t power() const { return power_; }
  std::uint32_t seed() const { return seed_; }
  HadamardJob job() const;

  /// y = x * V in double. @param x, y  [width], apart
  void rotate(std::span<const double> x, std::span<double> y) const;
  /// y = x * Vᵀ in double: what rotate() undoes.
  void rotate_back(std::span<const double> x, std::span<double> y) const;

 private:
  /// As HadamardJob points to them. All rotations of a process that are equal share theirs, so that
  /// a row that is decoded finds them in the cache.
  struct Tables {
    AlignedBuffer<float> signs;
    std::vector<float> mix;
    AlignedBuffer<float> row_signs;  ///< signs, times what the pairs want; empty without pairs
    std::vector<std::uint32_t> rows, outputs;
    std::vector<float> output_scales;
  };
  static void find_pairs(std::size_t order, std::size_t power, Tables& tables);
  static Tables make_tables(std::size_t width, std::size_t order, std::size_t power,
                            std::uint32_t seed);

  std::size_t width_ = 0;
  std::size_t order_ = 1;
  std::size_t power_ = 1;
  std::uint32_t seed_ = 0;
  std::shared_ptr<const Tables> tables_;
};

/// A Hadamard matrix [order, order] of 1 and -1, its first row and column positive: for a prime q
/// of form 4n + 3 of order q + 1 (12, 20, 24, …), else for one of form 4n + 1 of order 2 (q + 1)
/// (28, 36, …), by Paley (1933). Empty where neither fits, or above order 256.
std::vector<float> paley_matrix(std::size_t order);

namespace isa {
void rotate_row_scalar(const HadamardJob& job, const float* x, float* t, float* y);
void rotate_row_avx2(const HadamardJob& job, const float* x, float* t, float* y);
void rotate_row_avx512(const HadamardJob& job, const float* x, float* t, float* y);
}  // namespace isa

}  // namespace tender::kernels
