#include "quant/formats/blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"

namespace tender::quant {
namespace {

using kernels::BlockScale;
using kernels::BlockScales;

constexpr std::size_t kBlock = kernels::PanelsBlocks::kBlock;
constexpr std::size_t kSuper = kernels::PanelsBlocks::kSuper;
constexpr std::size_t kHalf = sizeof(std::uint16_t);

constexpr std::size_t kFloat = sizeof(float);
// Below it quotients by the scale would not be finite.
constexpr float kTinyScale = 0x1p-100F;

// Codes of five and six bits are multiplied as bytes.
constexpr std::array kTypes = {
    BlockType{"Q8_0", DType::q8_0, 8, kBlock, 34, 8, 8, 128, BlockScales::halves},
    BlockType{"Q4_0", DType::q4_0, 2, kBlock, 18, 4, 4, 8, BlockScales::halves},
    BlockType{"Q4_1", DType::q4_1, 3, kBlock, 20, 4, 4, 0, BlockScales::halves_and_minima},
    BlockType{"symmetric-8", std::nullopt, -8, kBlock, 36, 8, 8, 128, BlockScales::floats},
    BlockType{"symmetric-4", std::nullopt, -4, kBlock, 20, 4, 4, 8, BlockScales::floats},
    BlockType{"Q5_0", DType::q5_0, 6, kBlock, 22, 5, 8, 128, BlockScales::halves},
    BlockType{"Q5_1", DType::q5_1, 7, kBlock, 24, 5, 8, 128, BlockScales::halves_and_minima},
    BlockType{"Q4_K", DType::q4_k, 12, kSuper* kBlock, 144, 4, 4, 0, BlockScales::superblocks},
    BlockType{"Q5_K", DType::q5_k, 13, kSuper* kBlock, 176, 5, 8, 128, BlockScales::superblocks},
    BlockType{"Q6_K", DType::q6_k, 14, kSuper* kBlock, 210, 6, 8, 128, BlockScales::half_blocks},
};
constexpr std::size_t kWritten = 5;  ///< the first of them

float half_at(const std::uint8_t* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return half_to_float(bits);
}

void put_half(std::uint8_t* at, float value) {
  const std::uint16_t bits = float_to_half(value);
  std::memcpy(at, &bits, sizeof bits);
}

float float_at(const std::uint8_t* at) {
  float value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// Blocks of 32 in a stored block.
std::size_t blocks_of(const BlockType& type) { return type.width / kBlock; }

constexpr std::uint8_t kZero = 128;  ///< of codes of five and six bits, which become bytes

/// 16 bytes: low halves, then high ones.
void read_nibbles(const std::uint8_t* from, std::uint8_t (&codes)[kBlock]) {
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    codes[i] = from[i] & 15U;
    codes[i + kBlock / 2] = from[i] >> 4U;
  }
}

/// 32 codes of a block that has its own bytes, after the scale.
void read_codes(const BlockType& type, const std::uint8_t* from, std::uint8_t (&codes)[kBlock]) {
  if (type.stored_bits == 8) {
    for (std::size_t i = 0; i < kBlock; ++i) codes[i] = static_cast<std::uint8_t>(from[i] ^ 0x80U);
    return;
  }
  if (type.stored_bits == 4) return read_nibbles(from, codes);
  std::uint32_t fifth = 0;
  std::memcpy(&fifth, from, sizeof fifth);
  read_nibbles(from + sizeof fifth, codes);
  const unsigned lowest = type.form == BlockScales::halves ? kZero - 16U : kZero;
  for (std::size_t i = 0; i < kBlock; ++i)
    codes[i] = static_cast<std::uint8_t>(lowest + (codes[i] | (fifth >> i & 1U) << 4U));
}

/// The six bits of scale and minimum of a block, out of the twelve bytes of eight.
void read_six_bits(const std::uint8_t* packed, std::size_t block, BlockScale& scale) {
  if (block < 4) {
    scale.times = packed[block] & 63U;
    scale.min_times = packed[block + 4] & 63U;
    return;
  }
  const unsigned low = packed[block + 4];
  const unsigned of_scale = packed[block - 4], of_minimum = packed[block];  // two bits each
  scale.times = static_cast<std::uint8_t>((low & 15U) | (of_scale >> 6U) << 4U);
  scale.min_times = static_cast<std::uint8_t>(low >> 4U | (of_minimum >> 6U) << 4U);
}

/// Block `b` of eight whose bytes are Q4_K's or Q5_K's. @param at  past scale and minimum
void read_superblock(const BlockType& type, const std::uint8_t* at, std::size_t b,
                     std::uint8_t (&codes)[kBlock], BlockScale& scale) {
  constexpr std::size_t kSixBits = 12;
  read_six_bits(at, b, scale);
  const std::uint8_t* fifth = at + kSixBits;
  const bool five = type.stored_bits == 5;
  // two blocks share 32 bytes: low nibbles are the first of them
  const std::uint8_t* nibbles = fifth + (five ? kBlock : 0) + b / 2 * kBlock;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const unsigned nibble = b % 2 == 0 ? nibbles[i] & 15U : nibbles[i] >> 4U;
    const unsigned code = five ? kZero + (nibble | (fifth[i] >> b & 1U) << 4U) : nibble;
    codes[i] = static_cast<std::uint8_t>(code);
  }
}

/// Block `b` of eight of Q6_K: 128 bytes of low nibbles, 64 of pairs of high bits, 16 scales, the
/// float16. Four blocks share 64 bytes of the first (two in a nibble) and 32 of the second.
void read_six_bit_codes(const std::uint8_t* at, std::size_t b, std::uint8_t (&codes)[kBlock],
                        BlockScale& scale) {
  const std::size_t four = b / 4, of_four = b % 4;
  const std::uint8_t* low = at + four * 64 + of_four % 2 * kBlock;
  const std::uint8_t* high = at + 128 + four * kBlock;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const unsigned nibble = of_four < 2 ? low[i] & 15U : low[i] >> 4U;
    const unsigned pair = high[i] >> 2 * of_four & 3U;
    codes[i] = static_cast<std::uint8_t>(kZero - 32U + (nibble | pair << 4U));
  }
  const std::uint8_t* scales = at + 192;
  scale = {half_at(scales + 16), 0, scales[2 * b], scales[2 * b + 1]};
}

/// Block `b` of a row. @param codes  of all 32
void read_block(const BlockType& type, const std::uint8_t* row, std::size_t b,
                std::uint8_t (&codes)[kBlock], BlockScale& scale) {
  const std::uint8_t* at = row + b / blocks_of(type) * type.bytes;
  if (type.form == BlockScales::half_blocks)
    return read_six_bit_codes(at, b % kSuper, codes, scale);
  scale = {0, 0, 1, 0};
  scale.scale = type.form == BlockScales::floats ? float_at(at) : half_at(at);
  at += type.form == BlockScales::floats ? kFloat : kHalf;
  if (type.form == BlockScales::halves_and_minima || type.form == BlockScales::superblocks) {
    scale.minimum = half_at(at);
    at += kHalf;
  }
  if (type.form == BlockScales::superblocks)
    return read_superblock(type, at, b % kSuper, codes, scale);
  read_codes(type, at, codes);
}

/// A scale as it will be stored.
float stored_scale(float value) {
  const float half = half_to_float(float_to_half(value));
  if (std::isfinite(half)) return half;
  fail(ErrorKind::invalid_input,
       {.code = "FLOAT_RANGE",
        .found = fmt::format("{}", value),
        .expected = "at most 65504",
        .hint = "weights this large need another method"},
       "a scale of {} is beyond float16", value);
}

struct Ends {
  float signed_largest = 0;  ///< the first value of the largest magnitude
  float least = 0;
  float most = 0;
};
Ends ends_of(std::span<const float> w) {
  Ends ends{w[0], w[0], w[0]};
  for (const float value : w) {
    if (std::abs(value) > std::abs(ends.signed_largest)) ends.signed_largest = value;
    ends.least = std::min(ends.least, value);
    ends.most = std::max(ends.most, value);
  }
  return ends;
}

float inverse(float d) { return std::abs(d) < kTinyScale ? 0 : 1 / d; }

/// Half away from zero. |value| is small.
float round_away(float value) {
  const float floor = std::floor(std::abs(value));
  return std::copysign(floor + std::floor(2 * (std::abs(value) - floor)), value);
}

/// Towards zero, into [0, 15].
std::uint8_t nibble_of(float value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0.0F, 15.0F));
}

void round_block(const BlockType& type, std::span<const float> w, std::uint8_t* codes,
                 BlockScale& scale) {
  const Ends ends = ends_of(w);
  if (type.bits == 8) {
    const float d = std::abs(ends.signed_largest) / 127;
    for (std::size_t i = 0; i < w.size(); ++i)
      codes[i] = static_cast<std::uint8_t>(static_cast<int>(round_away(w[i] * inverse(d))) + 128);
    scale.scale = stored_scale(d);
  } else if (type.form == BlockScales::halves) {
    const float d = ends.signed_largest / -8;
    for (std::size_t i = 0; i < w.size(); ++i) codes[i] = nibble_of(w[i] * inverse(d) + 8.5F);
    scale.scale = stored_scale(d);
  } else {
    const float d = (ends.most - ends.least) / 15;
    for (std::size_t i = 0; i < w.size(); ++i)
      codes[i] = nibble_of((w[i] - ends.least) * inverse(d) + 0.5F);
    scale.scale = stored_scale(d);
    scale.minimum = stored_scale(ends.least);
  }
}

}  // namespace

std::span<const BlockType> block_types() { return kTypes; }
std::span<const BlockType> written_block_types() { return block_types().first(kWritten); }
bool is_written(const BlockType& type) {
  return type.bits == type.stored_bits && type.width == kBlock;
}

const BlockType* find_block_type(DType type) {
  const auto found = std::ranges::find(kTypes, std::optional(type), &BlockType::file);
  return found == kTypes.end() ? nullptr : &*found;
}

const BlockType* find_block_type(std::int64_t id) {
  const auto found = std::ranges::find(kTypes, id, &BlockType::id);
  return found == kTypes.end() ? nullptr : &*found;
}

std::size_t block_row_bytes(const BlockType& type, std::size_t in) {
  return (in + type.width - 1) / type.width * type.bytes;
}

BlockMatrix::BlockMatrix(const BlockType& type, LinearShape shape, std::vector<std::byte> bytes)
    : type_(&type), shape_(shape), own_(std::move(bytes)) {
  require(own_.size() == shape.out * block_row_bytes(type, shape.in), "a matrix has all its rows");
}

BlockMatrix::BlockMatrix(const BlockType& type, LinearShape shape,
                         std::vector<const std::byte*> rows)
    : type_(&type), shape_(shape), rows_(std::move(rows)) {
  require(rows_.size() == shape.out, "a matrix has all its rows");
}

std::vector<std::byte> BlockMatrix::bytes() const {
  if (rows_.empty()) return own_;
  std::vector<std::byte> all;
  all.reserve(shape_.out * block_row_bytes(*type_, shape_.in));
  for (std::size_t n = 0; n < shape_.out; ++n) all.insert(all.end(), row(n).begin(), row(n).end());
  return all;
}

bool operator==(const BlockMatrix& a, const BlockMatrix& b) {
  if (a.type_ != b.type_ || a.shape_ != b.shape_) return false;
  for (std::size_t n = 0; n < a.shape_.out; ++n)
    if (!std::ranges::equal(a.row(n), b.row(n))) return false;
  return true;
}

void read_block_row(const BlockType& type, std::span<const std::byte> bytes, std::size_t in,
                    BlockRow& row) {
  require(bytes.size() == block_row_bytes(type, in), "a row has all of its blocks");
  const auto* from = reinterpret_cast<const std::uint8_t*>(bytes.data());
  row.codes.resize(in);
  row.scales.resize((in + kBlock - 1) / kBlock);
  for (std::size_t b = 0; b < row.scales.size(); ++b) {
    std::uint8_t codes[kBlock];
    read_block(type, from, b, codes, row.scales[b]);
    std::copy_n(codes, std::min(kBlock, in - b * kBlock),
                row.codes.begin() + static_cast<std::ptrdiff_t>(b * kBlock));
  }
}

void write_block_row(const BlockType& type, const BlockRow& row, std::span<std::byte> bytes) {
  require(is_written(type), "a type that is made");
  require(bytes.size() == block_row_bytes(type, row.codes.size()), "a row has all of its blocks");
  auto* to = reinterpret_cast<std::uint8_t*>(bytes.data());
  for (std::size_t b = 0; b < row.scales.size(); ++b, to += type.bytes) {
    std::uint8_t codes[kBlock];
    std::fill_n(codes, kBlock, static_cast<std::uint8_t>(type.zero));
    std::copy_n(row.codes.begin() + static_cast<std::ptrdiff_t>(b * kBlock),
                std::min(kBlock, row.codes.size() - b * kBlock), codes);
    std::uint8_t* at = to;
    if (type.form == BlockScales::floats)
      std::memcpy(at, &row.scales[b].scale, kFloat);
    else
      put_half(at, row.scales[b].scale);
    at += type.form == BlockScales::floats ? kFloat : kHalf;
    if (type.form == BlockScales::halves_and_minima) {
      put_half(at, row.scales[b].minimum);
      at += kHalf;
    }
    for (std::size_t i = 0; type.bits == 8 && i < kBlock; ++i)
      at[i] = static_cast<std::uint8_t>(codes[i] ^ 0x80U);
    for (std::size_t i = 0; type.bits == 4 && i < kBlock / 2; ++i)
      at[i] = static_cast<std::uint8_t>(codes[i] | codes[i + kBlock / 2] << 4);
  }
}

float block_weight(const BlockType& type, std::uint8_t code, const BlockScale& scale) {
  const auto level = static_cast<float>(static_cast<int>(code) - type.zero);
  if (type.form == BlockScales::superblocks)
    return scale.scale * static_cast<float>(scale.times) * level -
           scale.minimum * static_cast<float>(scale.min_times);
  if (type.form == BlockScales::halves_and_minima) return scale.scale * level + scale.minimum;
  return scale.scale * level;
}

float block_weight(const BlockType& type, const BlockRow& row, std::size_t k) {
  const BlockScale& scale = row.scales[k / kBlock];
  if (type.form != BlockScales::half_blocks) return block_weight(type, row.codes[k], scale);
  const auto times =
      static_cast<std::int8_t>(k % kBlock < kBlock / 2 ? scale.times : scale.min_times);
  return scale.scale * static_cast<float>(times) * static_cast<float>(row.codes[k] - type.zero);
}

std::uint8_t nearest_block_code(const BlockType& type, const BlockScale& scale, double w) {
  const bool even = type.bits == 8 || type.form == BlockScales::floats;  // as many on both sides
  const double least = even ? 1 : 0, most = type.bits == 8 ? 255 : 15;
  if (scale.scale == 0) return static_cast<std::uint8_t>(type.zero);
  const double minimum = type.form == BlockScales::halves_and_minima ? scale.minimum : 0;
  const double level = (w - minimum) / static_cast<double>(scale.scale) + type.zero;
  return static_cast<std::uint8_t>(std::floor(std::clamp(level, least, most) + 0.5));
}

BlockRow round_to_blocks(const BlockType& type, std::span<const float> w) {
  require(type.form == BlockScales::halves || type.form == BlockScales::halves_and_minima,
          "a type whose scales are ggml's to choose");
  require(is_written(type), "a type that is made");
  BlockRow row{std::vector<std::uint8_t>(w.size()),
               std::vector<BlockScale>((w.size() + kBlock - 1) / kBlock)};
  for (std::size_t b = 0; b < row.scales.size(); ++b)
    round_block(type, w.subspan(b * kBlock, std::min(kBlock, w.size() - b * kBlock)),
                row.codes.data() + b * kBlock, row.scales[b]);
  return row;
}

}  // namespace tender::quant
