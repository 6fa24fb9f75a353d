#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/gemm_i4/gemm_i4.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "quant/formats/symmetric.h"
#include "quant/integer/integer_rows.h"
#include "quant/packed_site.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// One layer's weights as its method stores them.
struct IntegerWeights {
  LinearShape shape;
  CodesView codes;                 ///< [out, in]
  std::span<const float> scales;   ///< [out], or [out, stretches]
  std::span<const float> addends;  ///< [chunks, out], or empty
  /// [out, groups of WeightLayout::group inputs], or empty; |code * multiplier| <= 127
  std::span<const std::uint8_t> multipliers{};
  std::size_t group = 0;

  std::size_t groups() const { return group == 0 ? 0 : (shape.in + group - 1) / group; }
  /// Code times multiplier.
  int weight(std::size_t output, std::size_t input) const {
    const int code = codes.at(output, input);
    return group == 0 ? code : code * multipliers[output * groups() + input / group];
  }
};

/// A layer ready for integer products.
///
///     y[m, n] = ((float(A) * (scales[n] * steps[m])) + addends[chunk of m][n]) + bias[n]
///
/// with A the exact integer sum. A is accumulated in 32 bits; where the bound of tender.md 5.4 says
/// that it might not fit, the sum is cut into parts that do and they are added in 64 bits: the same
/// A. With weight scales per stretch the parts are the stretches, and
///
///     y[m, n] = (((0 + float(A_0) * scales[n][0]) + float(A_1) * scales[n][1]) + …) * steps[m]
///
/// then addends and bias; every operation rounds to float32.
///
/// Weights stay packed where IntegerRows says so: four bits each, and the bytes of multipliers.
class IntegerLinear {
 public:
  IntegerLinear() = default;
  IntegerLinear(const IntegerRows& rows, const IntegerWeights& weights);

  void matmul(const IntegerRows& rows, const IntegerCodes& codes, MatrixView<float> y,
              const Epilogue& epilogue, ThreadPool& pool) const;
  /// Names of the kernels, and why more than one accumulator where it needs them.
  std::string kernel(const IntegerRows& rows) const;
  /// Of the products of many rows of the first chunk.
  std::size_t parts() const { return orders_[0].size(); }
  /// Memory that it holds.
  std::size_t bytes() const;

 private:
  /// A run of segments whose sum fits 32 bits.
  struct Part {
    std::vector<kernels::Segment> segments;
    std::uint32_t shift_after = 0;  ///< of the segments that follow
  };
  using Parts = std::vector<Part>;
  /// Some panels of a product of many rows.
  struct Slab {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  void pack(const IntegerRows& rows, const IntegerWeights& weights);
  void cut_where_32_bits_are_few(const IntegerRows& rows, const IntegerWeights& weights,
                                 std::size_t order);
  std::size_t panels() const {
    return (out_ + kernels::PanelsI8::kWidth - 1) / kernels::PanelsI8::kWidth;
  }
  std::size_t columns() const { return panels() * kernels::PanelsI8::kWidth; }
  void run_few(const IntegerRows& rows, const IntegerCodes& codes, const kernels::GemmI8Job& job,
               ThreadPool& pool) const;
  void run_planes(const IntegerRows& rows, const kernels::GemmI4Job& job, Slab slab) const;
  void run_many(const IntegerRows& rows, const IntegerCodes& codes, const IntegerCodes::Run& run,
                const kernels::GemmI8Job& job, ThreadPool& pool) const;
  void run_slab(const IntegerRows& rows, const IntegerCodes& codes, const IntegerCodes::Run& run,
                const kernels::GemmI8Job& job, Slab slab) const;
  void combine(const kernels::GemmI8Job& job, Slab slab, std::span<const std::uint32_t> shifts,
               std::span<const std::int32_t> sums) const;

  std::size_t out_ = 0;
  kernels::PanelsI8 panels_;   ///< of weights of 8 bits
  kernels::PanelsI4 packed_;   ///< of weights that stay packed
  std::vector<Parts> orders_;  ///< for each order of the rows
  bool fits_ = true;           ///< A fits 32 bits
  bool by_stretch_ = false;
  AlignedBuffer<float> scales_;   ///< [stretches, panels * 16]
  AlignedBuffer<float> addends_;  ///< [chunks, panels * 16]
};

/// Whether sum_k |code * multiplier| * 2^shift * reach stays below 2^31 for every output and chunk
/// (tender.md 5.4).
bool sums_fit_32_bits(const RowRounding& rounding, const IntegerWeights& weights);

}  // namespace tender::quant
