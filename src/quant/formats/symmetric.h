#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/matrix.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// Which weights share a scale; with `multiplier` those of an output channel do, and groups of its
/// inputs an integer on top.
enum class WeightGranularity : std::uint8_t { tensor, channel, group, multiplier };

/// Signed codes of 2 to 8 bits with float32 scales and no zero points; the weights of rtn, gptq and
/// tender.
///
///     weight[n][k] = code * scale, or code * multiplier * scale; code in
///     [-2^(bits-1), 2^(bits-1) - 1]; quantizing makes no lowest code
///
/// Packed, row after row, the same on every machine:
///
///     bits 5 … 8   one byte per code, two's complement                      [out, in] int8
///     bits 2 … 4   two's-complement nibbles, even k in the low one,         [out, (in + 1) / 2]
///     uint8
///                  0 in the nibble past an odd `in`
///     scales       float32, [1] per tensor, [out] per output channel, or    [out, groups]
///                  [out, (in + group - 1) / group]: the last group of a row may be shorter
///     multipliers  uint8 [out, groups], 1 or more, beside [out] scales: only where |code *
///                  multiplier| <= 127 for every code, so that the product is a code of 8 bits
///
/// Bits per weight: 8 or 4, and 32 / in per channel or 32 / group; multipliers 8 / group and 32 /
/// in. Rows never share a group of inputs.
struct SymmetricCodes {
  LinearShape shape;
  int bits = 8;
  std::size_t group = 0;  ///< inputs that share a scale or multiplier; 0 where all of a row do
  std::vector<std::int8_t> codes;  ///< [out, in]
  std::vector<float> scales;
  std::vector<std::uint8_t> multipliers{};  ///< [out, groups], or empty

  std::size_t groups() const { return group == 0 ? 1 : (shape.in + group - 1) / group; }
  int multiplier(std::size_t output, std::size_t input) const {
    return multipliers.empty() ? 1 : int{multipliers[output * groups() + input / group]};
  }
  /// What one unit of code * multiplier is worth.
  float scale(std::size_t output, std::size_t input) const {
    if (scales.size() == 1) return scales[0];
    return group == 0 || !multipliers.empty() ? scales[output]
                                              : scales[output * groups() + input / group];
  }
  friend bool operator==(const SymmetricCodes&, const SymmetricCodes&) = default;
};

/// The same weights with the multipliers inside codes of 8 bits, one scale per output channel;
/// as they are where there are none.
SymmetricCodes expanded(SymmetricCodes codes);

/// Codes as they are stored, row after row; owns nothing.
class CodesView {
 public:
  CodesView() = default;
  /// @param bytes  [out, row_bytes()]
  CodesView(std::span<const std::uint8_t> bytes, std::size_t in, int bits);

  /// Two codes to a byte.
  bool pairs() const { return pairs_; }
  std::size_t rows() const { return bytes_.size() / row_bytes(); }
  std::size_t in() const { return in_; }
  std::size_t row_bytes() const { return pairs_ ? (in_ + 1) / 2 : in_; }
  std::span<const std::uint8_t> row(std::size_t output) const {
    return bytes_.subspan(output * row_bytes(), row_bytes());
  }
  int at(std::size_t output, std::size_t input) const {
    if (!pairs_) return static_cast<std::int8_t>(bytes_[output * in_ + input]);
    const unsigned byte = bytes_[output * row_bytes() + input / 2];
    const unsigned nibble = input % 2 == 0 ? byte & 15U : byte >> 4U;
    return static_cast<int>(nibble ^ 8U) - 8;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t in_ = 1;
  bool pairs_ = false;
};

/// Bytes of its own, or those of somebody who keeps them longer.
class KeptBytes {
 public:
  KeptBytes() = default;
  explicit KeptBytes(std::vector<std::uint8_t> own) : own_(std::move(own)) {}
  static KeptBytes of(std::span<const std::byte> kept) {
    KeptBytes bytes;  ///< [out, CodesView::row_bytes()]
    bytes.kept_ = {reinterpret_cast<const std::uint8_t*>(kept.data()), kept.size()};
    return bytes;
  }
  std::span<const std::uint8_t> span() const { return own_.empty() ? kept_ : own_; }

 private:
  std::vector<std::uint8_t> own_;
  std::span<const std::uint8_t> kept_;
};

/// The same with codes as stored.
struct SymmetricBytes {
  LinearShape shape;
  int bits = 8;
  std::size_t group = 0;
  KeptBytes bytes;
  std::vector<float> scales;
  std::vector<std::uint8_t> multipliers{};

  CodesView codes() const { return {bytes.span(), shape.in, bits}; }

  std::size_t payload() const;  ///< from the shape, since prepare() may have moved the bytes
};

/// Below it quotients by the scale would be denormal: such weights count as 0.
inline constexpr float kTinyWeight = 0x1p-100F;

/// 2^(bits-1) - 1.
int highest_weight_code(int bits);
/// The largest multiplier whose product with every code fits 8 bits: 127 / highest code.
int highest_multiplier(int bits);
/// largest / high, moved by an ulp in the rare case where high * scale would give another scale
/// back: so quantizing dequantized weights finds the same codes and the same scales. 1 where
/// `largest` counts as 0.
float scale_of_largest(float largest, int high);
/// The code of a weight: rne(clamp(w / step, -high, high)), as a float32.
inline float nearest_weight_code(float w, float step, int high) {
  constexpr float kNoFraction = 0x1.8p23F;  // the addition rounds to nearest even
  const auto bound = static_cast<float>(high);
  return (std::max(std::min(w / step, bound), -bound) + kNoFraction) - kNoFraction;
}

/// Round to nearest even of w / scale, where scale = (largest |w| that shares it) / (2^(bits-1) -
/// 1).
/// @param granularity  any but multiplier, which weight_search.h knows
/// @param group        inputs per scale, for WeightGranularity::group
SymmetricCodes quantize_symmetric(MatrixView<const float> w, int bits,
                                  WeightGranularity granularity, std::size_t group);

SymmetricBytes pack_symmetric(const SymmetricCodes& codes);
SymmetricCodes unpack_symmetric(const SymmetricBytes& packed);
void dequantize_symmetric(const SymmetricCodes& codes, MatrixView<float> w);

/// Parts `<prefix>_codes`, `<prefix>_scales` and, where there are any, `<prefix>_multipliers`.
void save_symmetric(const SymmetricBytes& packed, std::string_view prefix, PartSink& sink);
/// The codes stay where the source has them.
/// @throws Error corrupt_file (CK_PART_MISSING, CK_PART_SHAPE, QC_RANGE, QC_SCALE)
SymmetricBytes load_symmetric(const PartSource& source, std::string_view prefix, std::size_t in,
                              int bits, WeightGranularity granularity, std::size_t group);

}  // namespace tender::quant
