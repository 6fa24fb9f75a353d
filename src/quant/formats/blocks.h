#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/gemm_blocks/gemm_blocks.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// A type of GGUF whose blocks of 32 weights are multiplied as they are stored
/// (checkpoints.md 6.3).
struct BlockType {
  DType type;
  int bits;                   ///< of a code
  int zero;                   ///< of an unsigned code that stands for 0
  kernels::BlockScales form;  ///< of scales, beside the codes in a product
};

/// Q8_0, Q4_0, Q4_1, Q4_K.
std::span<const BlockType> block_types();
/// Null for a type of other blocks, or of none.
const BlockType* find_block_type(DType type);

/// Bytes of a row of `in` weights; the last block may be short in codes, not in bytes.
std::size_t block_row_bytes(const BlockType& type, std::size_t in);

/// Rows of weights in the bytes that GGUF has for them.
struct BlockMatrix {
  const BlockType* type = nullptr;
  LinearShape shape;
  std::vector<std::byte> bytes;  ///< [out, block_row_bytes]

  std::span<const std::byte> row(std::size_t output) const {
    const std::size_t each = block_row_bytes(*type, shape.in);
    return std::span(bytes).subspan(output * each, each);
  }
  friend bool operator==(const BlockMatrix&, const BlockMatrix&) = default;
};

/// Unsigned codes [in] and what each block of 32 makes of them.
struct BlockRow {
  std::vector<std::uint8_t> codes;
  std::vector<kernels::BlockScale> scales;
};
void read_block_row(const BlockType& type, std::span<const std::byte> bytes, std::size_t in,
                    BlockRow& row);
/// Not for Q4_K. Scales are rounded to float16. @param bytes  [block_row_bytes]
void write_block_row(const BlockType& type, const BlockRow& row, std::span<std::byte> bytes);

/// scale * (code - zero) + minimum, rounded once.
float block_weight(const BlockType& type, std::uint8_t code, const kernels::BlockScale& scale);

/// The code whose weight is nearest to `w`; scale and minimum are float16 numbers.
std::uint8_t nearest_block_code(const BlockType& type, const kernels::BlockScale& scale, double w);

/// Codes and scales of a row as ggml's reference makes them: with d from the largest magnitude
/// (Q8_0: |w| / 127; Q4_0: the signed one / -8) or from both ends (Q4_1: (max - min) / 15), codes
/// under d before it is rounded to float16. Not for Q4_K.
/// @throws Error invalid_input (FLOAT_RANGE) where a scale is beyond float16
BlockRow round_to_blocks(const BlockType& type, std::span<const float> w);

}  // namespace tender::quant
