#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "quant/integer/integer_rows.h"
#include "quant/packed_site.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// One layer's weights as its method stores them.
struct IntegerWeights {
  LinearShape shape;
  std::span<const std::int8_t> codes;  ///< [out, in]
  std::span<const float> scales;       ///< [out], or [out, stretches]
  std::span<const float> addends;      ///< [chunks, out], or empty
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
class IntegerLinear {
 public:
  IntegerLinear() = default;
  IntegerLinear(const IntegerRows& rows, const IntegerWeights& weights);

  void matmul(const IntegerRows& rows, const IntegerCodes& codes, MatrixView<float> y,
              const Epilogue& epilogue, ThreadPool& pool) const;
  /// Name of the kernel, and why more than one accumulator where it needs them.
  std::string kernel(const IntegerRows& rows) const;
  std::size_t parts() const { return parts_.size(); }

 private:
  /// A run of segments whose sum fits 32 bits.
  struct Part {
    std::vector<kernels::Segment> segments;
    std::uint32_t shift_after = 0;  ///< of the segments that follow
  };

  void cut_where_32_bits_are_few(const IntegerRows& rows, const IntegerWeights& weights);
  void run_parts(const IntegerRows& rows, const IntegerCodes& codes, kernels::GemmI8Job job,
                 ThreadPool& pool) const;
  void combine(const kernels::GemmI8Job& job, std::size_t begin, std::size_t end,
               std::span<const std::int32_t> sums) const;

  kernels::PanelsI8 panels_;
  std::vector<Part> parts_;
  bool by_stretch_ = false;
  AlignedBuffer<float> scales_;   ///< [stretches, panels * 16]
  AlignedBuffer<float> addends_;  ///< [chunks, panels * 16]
};

/// Whether sum_k |code| * 2^shift * reach stays below 2^31 for every output and chunk
/// (tender.md 5.4).
bool sums_fit_32_bits(const RowRounding& rounding, const IntegerWeights& weights);

}  // namespace tender::quant
