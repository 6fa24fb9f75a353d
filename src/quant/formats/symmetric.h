#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/matrix.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// Which weights share a scale.
enum class WeightGranularity : std::uint8_t { tensor, channel, group };

/// Signed codes of 2 to 8 bits with float32 scales and no zero points; the weights of rtn and
/// tender.
///
///     weight[n][k] = code * scale, code in [-2^(bits-1), 2^(bits-1) - 1]; quantizing makes no
///     lowest code
///
/// Packed, row after row, the same on every machine:
///
///     bits 5 … 8   one byte per code, two's complement                      [out, in] int8
///     bits 2 … 4   two's-complement nibbles, even k in the low one,         [out, (in + 1) / 2]
///     uint8
///                  0 in the nibble past an odd `in`
///     scales       float32, [1] per tensor, [out] per output channel, or    [out, groups]
///                  [out, (in + group - 1) / group]: the last group of a row may be shorter
///
/// Bits per weight: 8 or 4, and 32 / in per channel or 32 / group. Rows never share a group of
/// inputs.
struct SymmetricCodes {
  LinearShape shape;
  int bits = 8;
  std::size_t group = 0;           ///< inputs that share a scale; 0 where all of a row do
  std::vector<std::int8_t> codes;  ///< [out, in]
  std::vector<float> scales;

  std::size_t groups() const { return group == 0 ? 1 : (shape.in + group - 1) / group; }
  float scale(std::size_t output, std::size_t input) const {
    if (scales.size() == 1) return scales[0];
    return group == 0 ? scales[output] : scales[output * groups() + input / group];
  }
  friend bool operator==(const SymmetricCodes&, const SymmetricCodes&) = default;
};

/// The same with codes as stored.
struct SymmetricBytes {
  LinearShape shape;
  int bits = 8;
  std::size_t group = 0;
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales;

  std::size_t payload() const;  ///< from the shape, since prepare() may have moved the bytes
};

/// Round to nearest even of w / scale, where scale = (largest |w| that shares it) / (2^(bits-1) -
/// 1).
/// @param group  inputs per scale, for WeightGranularity::group
SymmetricCodes quantize_symmetric(MatrixView<const float> w, int bits,
                                  WeightGranularity granularity, std::size_t group);

SymmetricBytes pack_symmetric(const SymmetricCodes& codes);
SymmetricCodes unpack_symmetric(const SymmetricBytes& packed);
void dequantize_symmetric(const SymmetricCodes& codes, MatrixView<float> w);

/// Parts `<prefix>_codes` and `<prefix>_scales`.
void save_symmetric(const SymmetricBytes& packed, std::string_view prefix, PartSink& sink);
/// @throws Error corrupt_file (CK_PART_MISSING, CK_PART_SHAPE, QC_RANGE, QC_SCALE)
SymmetricBytes load_symmetric(const PartSource& source, std::string_view prefix, std::size_t in,
                              int bits, WeightGranularity granularity, std::size_t group);

}  // namespace tender::quant
