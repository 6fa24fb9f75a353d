#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/compress_codes/compress_codes.h"
#include "kernels/gemm_i4/gemm_i4.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/rotation/rotation.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::quant {

/// As round_row() of row_rounding.h, in any kernel: the same bits. @param u [in], scratch
RoundedRow round_row(const RowRounding& rounding, const kernels::RoundRowsKernel& kernel,
                     std::span<const float> x, std::int32_t position, std::span<float> u,
                     std::span<std::int16_t> codes);

/// What the rows of a site have to know of the weights that they meet.
struct WeightLayout {
  /// bench/NOTES.md has the measurement.
  static constexpr std::size_t kFewRows = 20;

  int bits = 8;             ///< of a code, before multipliers; up to 4 stay packed
  std::size_t group = 0;    ///< inputs that share an integer multiplier; 0: there are none
  std::size_t stretch = 0;  ///< inputs whose sums stand apart (float scales per group), at most one
                            ///< chunk, no shifts; 0 where all are one sum
  bool fold = true;         ///< whether shifts may go into unpacked 4-bit weights
  std::size_t few_rows = kFewRows;  ///< so many meet packed panels as they are, four times as many
                                    ///< where a code is one digit
};

/// The channels of a segment: bits in `words` words from channel `first_word` * 64 on.
struct ChannelSet {
  std::uint32_t first_word = 0;
  std::uint32_t words = 0;
};

/// In which order channels meet weights in a product of many rows.
struct CodeOrder {
  std::vector<std::uint32_t> slots;  ///< the channel of each slot of a panel, `in` for none
  std::vector<std::uint8_t> folds;   ///< [slots], by how much its weights are shifted; or none
  std::vector<kernels::Segment> segments;  ///< of codes and panel
  std::vector<ChannelSet> sets;            ///< [segments], for codes that are bytes; or none
  std::vector<std::uint64_t> channels;     ///< of all sets (kernels::CompressCodesFn)
  std::vector<kernels::UnpackQuad> quads;  ///< how packed panels get there; empty for 8-bit ones
};

/// Rows as the integer products of a site read them.
struct IntegerCodes {
  /// Rows that share an order.
  struct Run {
    std::size_t first = 0;
    std::size_t count = 0;
    std::size_t order = 0;
  };

  bool few = false;  ///< digits for packed panels as they are, else codes of IntegerRows::kernel()
  AlignedBuffer<std::uint8_t> codes;  ///< [rows, stride], in bytes or words
  std::size_t stride = 0;             ///< codes from row to row
  std::vector<float> steps;           ///< [rows]
  std::vector<std::uint32_t> chunks;  ///< [rows]
  std::uint64_t clipped = 0;          ///< RoundedRow::clipped of all rows
  /// [rows], 128 * sum of codes << shift, empty without offset panels; `few`: [rows, multiplier
  /// groups], 8 * the sum of the group
  std::vector<std::int32_t> corrections;
  std::vector<Run> runs;
};

/// A site ready to round: which kernel, in which order channels stand, where the accumulator
/// shifts. However it is done, the sum is sum of codes * weights * 2^shift, bit for bit (tender.md
/// 5.1).
///
/// Weights of 8 bits. With one chunk of channels and a kernel of bytes, channels stand in group
/// order, largest step first, every group padded to quads, and the accumulator is shifted between
/// groups. Otherwise they stand in natural order and codes are shifted beforehand, into as many
/// planes of words as the span of shifts needs: a plane holds the channels of `word_shifts` + 1
/// consecutive shifts, the others are 0 in it. Elements with shifts of their own are such words by
/// themselves.
///
/// Weights of up to 4 bits stay packed in natural order. most_few_rows() rows and fewer (per run
/// of a chunk) meet them as they are: codes << shift in balanced digits of base 256, a plane of
/// bytes each. More rows meet panels of 8 bits that are unpacked on the way, in any order:
/// - kernel of offset panels, channels with shifts: in group order, each chunk in its own. Without
///   multipliers w * 2^j fits 8 bits for j <= 4, so that five consecutive groups fold into one
///   (performance.md 6); the five are placed where they hold most channels.
/// - kernel of offset panels, elements with shifts: the digits from above.
/// - other kernels: as for weights of 8 bits.
///
/// Chunks that come with the rows meet weights of 8 bits in natural order, in words: their shifts
/// are known when the rows are.
class IntegerRows {
 public:
  IntegerRows() = default;
  IntegerRows(RowRounding rounding, Isa isa, WeightLayout weights = {});

  /// @param rotation  what each row goes through first, or null
  IntegerCodes round(const Rows& x, ThreadPool& pool, const Rotation* rotation = nullptr) const;
  /// Where rows bring their chunks (RowRounding::chunk_groups).
  /// @param chunks  every row of x in one of them; IntegerCodes::chunks are places in this list
  IntegerCodes round(const Rows& x, std::span<const ChunkOfRows> chunks, ThreadPool& pool) const;

  const RowRounding& rounding() const { return rounding_; }
  const kernels::GemmI8Kernel& kernel() const { return *kernel_; }
  /// Whether weights stay packed.
  bool packed() const { return packed_; }
  std::size_t most_few_rows() const { return weights_.few_rows * (planes_ == 1 ? 4 : 1); }
  /// Null where no number of rows meets packed panels as they are.
  const kernels::GemmI4Kernel* few_kernel() const { return few_; }
  const kernels::UnpackI4Kernel& unpack_kernel() const { return *unpack_; }
  const WeightLayout& weights() const { return weights_; }
  /// Digits of base 256 of a shifted code, and bytes from plane to plane of a row of them.
  std::size_t planes() const { return planes_; }
  std::size_t plane_stride() const { return plane_stride_; }
  /// Whether codes are shifted before the product whatever the CPU.
  bool shifted() const { return form_ == Form::words && shifted_; }
  bool codes_signed() const { return form_ == Form::digits || rounding_.low < 0; }
  bool offset_panels() const { return kernel_->offset_panels && codes_signed(); }
  /// One, or one for each chunk.
  std::span<const CodeOrder> orders() const { return orders_; }
  /// [4 * quads of a panel]: the channel of each slot, or `in` where it holds none.
  std::span<const std::uint32_t> slots() const { return orders_[0].slots; }
  std::span<const kernels::Segment> segments() const { return orders_[0].segments; }
  /// The most that the operand in a slot of a row, times how its weight was shifted, reaches.
  std::int64_t reach(std::size_t order, std::size_t chunk, std::size_t code_slot,
                     std::size_t panel_slot) const;
  /// 128 * the sum of a row's codes over some segments, shifts included.
  std::int32_t correction(const IntegerCodes& rows, std::size_t row,
                          std::span<const kernels::Segment> segments) const;
  /// Memory of orders and shifts, what rounding() holds not counted.
  std::size_t bytes() const;
  /// Whether some group was folded into another.
  bool folds() const;
  /// Consecutive groups that one product takes.
  std::uint32_t groups_at_once() const { return fold_span_; }

 private:
  enum class Form : std::uint8_t { groups, words, digits };

  void choose(Isa isa);
  void order_by_group(const ChunkRounding& chunk);
  void order_by_stretch(std::size_t stretch);
  void order_naturally();
  std::vector<std::int16_t> powers_of(const ChunkRounding& chunk) const;
  std::vector<std::int16_t> largest_powers() const;
  void order_digits();
  std::vector<IntegerCodes::Run> runs_of(std::span<const std::int32_t> positions) const;
  std::size_t correction_count(bool few) const;
  /// Writes one row of codes and its corrections.
  void place(std::span<const std::int16_t> codes, std::size_t chunk, std::uint8_t* row, bool few,
             std::int32_t* corrections) const;
  void note_channels(CodeOrder& order) const;
  /// @param codes  [in rounded up to 64]
  /// @return the sum of the codes, shifts included, modulo 2^32
  std::uint32_t place_bytes(const CodeOrder& order, std::span<const std::int16_t> codes,
                            std::uint8_t* row) const;
  /// @param powers  [stride], or empty where codes come shifted
  void place_words(std::span<const std::int16_t> codes, std::span<const std::int16_t> powers,
                   std::int16_t* row) const;
  /// Inputs [begin, end) where there are factors_. @return the sum of the shifted codes,
  /// modulo 2^32
  std::uint32_t place_two_digits(std::span<const std::int16_t> codes,
                                 std::span<const std::int16_t> factors, std::size_t begin,
                                 std::size_t end, std::int8_t* row) const;
  /// @param corrections [groups]: 8 * sums of shifted codes
  void place_digits(std::span<const std::int16_t> codes, std::size_t chunk, std::int8_t* row,
                    std::size_t group, std::int32_t* corrections) const;

  RowRounding rounding_;
  WeightLayout weights_;
  const kernels::GemmI8Kernel* kernel_ = nullptr;
  const kernels::GemmI4Kernel* few_ = nullptr;
  const kernels::UnpackI4Kernel* unpack_ = nullptr;
  const kernels::RoundRowsKernel* round_ = nullptr;
  const kernels::CompressCodesKernel* compress_ = nullptr;
  Form form_ = Form::groups;
  bool packed_ = false;
  bool shifted_ = false;
  std::uint32_t fold_span_ = 1;
  std::size_t planes_ = 1;
  std::size_t plane_stride_ = 0;
  std::vector<CodeOrder> orders_;
  std::vector<std::vector<std::int16_t>>
      powers_;  ///< [chunks], each [stride]: 2^shift in its plane, else 0
  std::vector<std::vector<std::int16_t>>
      factors_;             ///< [chunks], each [in]: 2^shift, where two digits are enough
  std::size_t stride_ = 0;  ///< of the codes of many rows
};

}  // namespace tender::quant
