#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tender::quant {

/// How the channels of one row chunk become integers.
struct ChunkRounding {
  std::vector<float> bias;        ///< [in], taken off first; or empty
  std::vector<float> multiplier;  ///< [in], 1 / the channel's step; or empty where it is 1
  std::vector<std::uint8_t>
      shift;       ///< [in], the channel's step is unit * 2^shift; or empty where 0
  float unit = 1;  ///< the smallest step
};

/// How the rows of a site become integers: what reference, kernels and simulators share.
///
///     u[k]    = (x[k] - bias[k]) * multiplier[k]         float32, rounded after each operation
///     peak    = max |u[k]|, or max(0, u[k]) where codes are unsigned
///     code[k] = rne(clamp(u[k] * factor, low, high))     factor = by_row ? high / peak : 1
///     step    = by_row ? unit * (peak / high) : unit
///     x[k] is about bias[k] + code[k] * 2^shift[k] * step
///
/// With element_groups G above 0 every element has a shift of its own, taken from the row itself
/// (tender.md 8.1 with chunks of one row), and no chunk has a bias, multipliers or shifts:
///
///     i[k]    = tender_group(|x[k]|, peak, G): how many halvings below the peak, from G - 1 down
///     code[k] = rne(clamp(x[k] * factor * 2^(G - 1 - i[k]), low, high)) * 2^i[k]
///
/// so that `code` is the operand of the product, high * 2^(G - 1) at most, and unit = 2^(1 - G).
///
/// With chunk_groups G above 0 every chunk of rows brings metadata of its own, made from those rows
/// (tender.md 8.1); `chunks` then holds one entry that bounds them all: shift G - 1 for every
/// channel.
///
/// A row whose u are not all finite has codes 0 and step NaN. With by_row, a row below kTinyPeak
/// counts as zero: codes 0, step = unit.
struct RowRounding {
  static constexpr float kTinyPeak = 0x1p-80F;  ///< high / peak and every step stay normal numbers

  std::size_t in = 0;
  int low = -128;
  int high = 127;
  bool by_row = false;
  int element_groups = 0;      ///< steps an element may have; 0 where channels have theirs
  std::size_t chunk_rows = 0;  ///< positions per chunk; 0 where there is one chunk
  std::vector<ChunkRounding> chunks;
  int chunk_groups = 0;  ///< steps that channels of a chunk may have where rows bring the chunk

  /// Positions past the last chunk use the last.
  std::size_t chunk_of(std::int32_t position) const;
  /// The largest |code| there can be: with by_row, nothing is clipped and `low` is not reached.
  int reach() const {
    if (element_groups > 0) return high << (element_groups - 1);
    return by_row || -low < high ? high : -low;
  }
};

/// Rows [begin, end) of a matrix and the one chunk that they are rounded by.
struct ChunkOfRows {
  std::size_t begin = 0;
  std::size_t end = 0;
  RowRounding rounding;
};

struct RoundedRow {
  float step = 0;  ///< what one unit of the integer sum is worth
  std::size_t chunk = 0;
  std::uint32_t clipped = 0;  ///< values beyond low - 1/2 or high + 1/2, where not by_row
};

/// What the codes of a row stand for, without the bias: code[k] * 2^shift[k] * step.
/// @param values  [in]
void expand_row(const RowRounding& rounding, const RoundedRow& row,
                std::span<const std::int16_t> codes, std::span<float> values);

/// The definition, in the scalar kernels. @param codes [in]
RoundedRow round_row(const RowRounding& rounding, std::span<const float> x, std::int32_t position,
                     std::span<std::int16_t> codes);

}  // namespace tender::quant
