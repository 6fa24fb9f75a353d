#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/row_rounding.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::quant {

/// As round_row() of row_rounding.h, in any kernel: the same bits. @param u [in], scratch
RoundedRow round_row(const RowRounding& rounding, const kernels::RoundRowsKernel& kernel,
                     std::span<const float> x, std::int32_t position, std::span<float> u,
                     std::span<std::int16_t> codes);

/// Rows as the integer products of a site read them.
struct IntegerCodes {
  AlignedBuffer<std::uint8_t> codes;  ///< [rows, stride], in bytes or words
  std::size_t stride = 0;             ///< codes from row to row
  std::vector<float> steps;           ///< [rows]
  std::vector<std::uint32_t> chunks;  ///< [rows]
  std::vector<std::int32_t>
      corrections;  ///< [rows], 128 * sum of codes << shift; empty without offset panels
};

/// A site ready to round: which kernel, in which order channels stand, where the accumulator
/// shifts.
///
/// With one chunk of channels and a kernel of bytes, channels stand in group order, largest step
/// first, every group padded to quads, and the accumulator is shifted between groups. Otherwise
/// they stand in natural order and codes are shifted beforehand, into as many planes of words as
/// the span of shifts needs: a plane holds the channels of `plane_shifts` + 1 consecutive shifts,
/// the others are 0 in it. Elements with shifts of their own are such words by themselves. Either
/// way the sum is sum of codes * weights * 2^shift, bit for bit (tender.md 5.1).
class IntegerRows {
 public:
  IntegerRows() = default;
  /// @param stretch  channels whose sums stand apart (weight groups), at most one chunk, no shifts;
  ///                 0 where all are one sum
  IntegerRows(RowRounding rounding, Isa isa, std::size_t stretch = 0);

  IntegerCodes round(const Rows& x, ThreadPool& pool) const;

  const RowRounding& rounding() const { return rounding_; }
  const kernels::GemmI8Kernel& kernel() const { return *kernel_; }
  /// Whether codes are shifted before the product whatever the CPU.
  bool shifted() const { return shifted_; }
  bool codes_signed() const { return rounding_.low < 0; }
  bool offset_panels() const { return kernel_->offset_panels && codes_signed(); }
  /// [4 * quads of a panel]: the channel of each slot, or `in` where it holds none.
  std::span<const std::uint32_t> slots() const { return slots_; }
  std::span<const kernels::Segment> segments() const { return segments_; }
  /// By what the code in a slot of a row was multiplied before it was stored: 2^shift, or 0 in the
  /// planes that its channel is not in.
  std::int32_t power(std::size_t chunk, std::size_t slot) const {
    return powers_.empty() ? 1 : powers_[chunk][slot];
  }
  /// 128 * the sum of a row's codes over some segments, shifts included.
  std::int32_t correction(const IntegerCodes& rows, std::size_t row,
                          std::span<const kernels::Segment> segments) const;

 private:
  void order_by_group();
  void order_by_stretch(std::size_t stretch);
  void order_naturally();
  /// @return the sum of the codes, shifts included, modulo 2^32
  std::uint32_t place_bytes(std::span<const std::int16_t> codes, std::uint8_t* row) const;
  void place_words(std::span<const std::int16_t> codes, std::size_t chunk, std::int16_t* row) const;

  RowRounding rounding_;
  const kernels::GemmI8Kernel* kernel_ = nullptr;
  const kernels::RoundRowsKernel* round_ = nullptr;
  bool shifted_ = false;
  std::vector<std::uint32_t> slots_;
  std::vector<kernels::Segment> segments_;
  std::vector<std::vector<std::int16_t>>
      powers_;  ///< [chunks], each [stride]: 2^shift in its plane, else 0
  std::size_t stride_ = 0;
};

}  // namespace tender::quant
