#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/contracts.h"
#include "kernels/gemm_blocks/gemm_blocks.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// A type whose blocks of 32 weights are multiplied as they are stored, or with codes of five and
/// six bits as bytes: one of GGUF (checkpoints.md 6.3), or one of our own with float32 scales.
///
///     symmetric-8   0 scale float32, 4 signed codes of 8 bits, above -128
///     symmetric-4   0 scale float32, 4 codes + 8 in nibbles, placed as in Q4_0; codes above -8
struct BlockType {
  std::string_view name;      ///< "Q4_0", "symmetric-4"
  std::optional<DType> file;  ///< of tensors in GGUF files; nothing for our own
  int id;                     ///< in parts: GGUF's number; our own have negative ones
  std::size_t width;          ///< weights that are stored together
  std::size_t bytes;          ///< in which they are stored
  int stored_bits;            ///< of a code there
  int bits;                   ///< of a code in a product: 4 or 8
  int zero;                   ///< of an unsigned code that stands for 0
  kernels::BlockScales form;  ///< of scales, beside the codes in a product
};

/// Those that are made: Q8_0, Q4_0, Q4_1, symmetric-8, symmetric-4. And those that are only read:
/// Q5_0, Q5_1, Q4_K, Q5_K, Q6_K.
std::span<const BlockType> block_types();
std::span<const BlockType> written_block_types();
bool is_written(const BlockType& type);
/// Null for a type of other blocks, or of none.
const BlockType* find_block_type(DType type);
/// By BlockType::id; null if there is none.
const BlockType* find_block_type(std::int64_t id);

/// Bytes of a row of `in` weights; the last block may be short in codes, not in bytes.
std::size_t block_row_bytes(const BlockType& type, std::size_t in);

/// Rows of weights in the bytes that GGUF has for them: its own, or those of a file that somebody
/// else keeps open.
class BlockMatrix {
 public:
  BlockMatrix() = default;
  /// @param bytes  [out, block_row_bytes]
  BlockMatrix(const BlockType& type, LinearShape shape, std::vector<std::byte> bytes);
  /// @param rows  [out]: where each row begins; the bytes outlive this matrix and its copies
  BlockMatrix(const BlockType& type, LinearShape shape, std::vector<const std::byte*> rows);

  const BlockType& type() const { return *type_; }
  LinearShape shape() const { return shape_; }
  std::span<const std::byte> row(std::size_t output) const {
    require(!own_.empty() || !rows_.empty(), "the rows are still there");
    const std::size_t each = block_row_bytes(*type_, shape_.in);
    return {rows_.empty() ? own_.data() + output * each : rows_[output], each};
  }
  /// Gives the rows back; type and shape stay.
  void forget_rows() { own_ = {}, rows_ = {}; }
  /// All rows together; copied where they are somebody else's.
  std::vector<std::byte> bytes() const;
  friend bool operator==(const BlockMatrix& a, const BlockMatrix& b);

 private:
  const BlockType* type_ = nullptr;
  LinearShape shape_;
  std::vector<std::byte> own_;
  std::vector<const std::byte*> rows_;  ///< of somebody else; or empty
};

/// Unsigned codes [in] and what each block of 32 makes of them.
struct BlockRow {
  std::vector<std::uint8_t> codes;
  std::vector<kernels::BlockScale> scales;
};
void read_block_row(const BlockType& type, std::span<const std::byte> bytes, std::size_t in,
                    BlockRow& row);
/// For types that are made. Scales are rounded to float16, but for our own types. @param bytes
/// [block_row_bytes]
void write_block_row(const BlockType& type, const BlockRow& row, std::span<std::byte> bytes);

/// scale * (code - zero) + minimum, rounded once, of a type whose blocks have one scale.
float block_weight(const BlockType& type, std::uint8_t code, const kernels::BlockScale& scale);
/// The same of input `k` of a row of any type.
float block_weight(const BlockType& type, const BlockRow& row, std::size_t k);

/// The code whose weight is nearest to `w`, for types that are made.
std::uint8_t nearest_block_code(const BlockType& type, const kernels::BlockScale& scale, double w);

/// Codes and scales of a row as ggml's reference makes them: with d from the largest magnitude
/// (Q8_0: |w| / 127; Q4_0: the signed one / -8) or from both ends (Q4_1: (max - min) / 15), codes
/// under d before it is rounded to float16. Where |d| < 2^-100 the codes are those of 0. For types
/// that are made with float16 scales.
/// @throws Error invalid_input (FLOAT_RANGE) where a scale is beyond float16
BlockRow round_to_blocks(const BlockType& type, std::span<const float> w);

}  // namespace tender::quant
