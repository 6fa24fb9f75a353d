#include "quant/formats/blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"
#include "tensor/largest.h"

namespace tender::quant {
namespace {

using kernels::BlockScale;
using kernels::BlockScales;

constexpr std::size_t kBlock = kernels::PanelsBlocks::kBlock;
constexpr std::size_t kSuper = kernels::PanelsBlocks::kSuper;
constexpr std::size_t kHalf = sizeof(std::uint16_t);

constexpr std::array kTypes = {
    BlockType{DType::q8_0, 8, 128, BlockScales::halves},
    BlockType{DType::q4_0, 4, 8, BlockScales::halves},
    BlockType{DType::q4_1, 4, 0, BlockScales::halves_and_minima},
    BlockType{DType::q4_k, 4, 0, BlockScales::superblocks},
};

float half_at(const std::uint8_t* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return half_to_float(bits);
}

void put_half(std::uint8_t* at, float value) {
  const std::uint16_t bits = float_to_half(value);
  std::memcpy(at, &bits, sizeof bits);
}

/// Blocks of 32 in a stored block.
std::size_t blocks_of(const BlockType& type) { return traits(type.type).block / kBlock; }

/// 16 bytes: low nibbles are the first half of the block.
void read_nibbles(const std::uint8_t* from, std::uint8_t (&codes)[kBlock]) {
  for (std::size_t i = 0; i < kBlock / 2; ++i) {
    codes[i] = from[i] & 15U;
    codes[i + kBlock / 2] = from[i] >> 4U;
  }
}

/// The six bits of scale and minimum of a block, out of the twelve bytes of eight.
void read_six_bits(const std::uint8_t* packed, std::size_t block, BlockScale& scale) {
  if (block < 4) {
    scale.times = packed[block] & 63U;
    scale.min_times = packed[block + 4] & 63U;
    return;
  }
  scale.times =
      static_cast<std::uint8_t>((packed[block + 4] & 15U) | (packed[block - 4] >> 6U) << 4U);
  scale.min_times =
      static_cast<std::uint8_t>((packed[block + 4] >> 4U) | (packed[block] >> 6U) << 4U);
}

/// Block `b` of a row. @param codes  of all 32
void read_block(const BlockType& type, const std::uint8_t* row, std::size_t b,
                std::uint8_t (&codes)[kBlock], BlockScale& scale) {
  const std::uint8_t* at = row + b / blocks_of(type) * (traits(type.type).bits / 8);
  scale = {half_at(at), 0, 1, 0};
  if (type.type == DType::q8_0) {
    for (std::size_t i = 0; i < kBlock; ++i)
      codes[i] = static_cast<std::uint8_t>(at[kHalf + i] ^ 0x80U);
  } else if (type.type == DType::q4_0) {
    read_nibbles(at + kHalf, codes);
  } else if (type.type == DType::q4_1) {
    scale.minimum = half_at(at + kHalf);
    read_nibbles(at + 2 * kHalf, codes);
  } else {
    scale.minimum = half_at(at + kHalf);
    read_six_bits(at + 2 * kHalf, b % kSuper, scale);
    // two blocks share 32 bytes: low nibbles are the first of them
    const std::uint8_t* nibbles = at + 2 * kHalf + 12 + b % kSuper / 2 * kBlock;
    for (std::size_t i = 0; i < kBlock; ++i)
      codes[i] = b % 2 == 0 ? nibbles[i] & 15U : nibbles[i] >> 4U;
  }
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

float inverse(float d) { return d == 0 ? 0 : 1 / d; }

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
  if (type.type == DType::q8_0) {
    const float d = std::abs(ends.signed_largest) / 127;
    for (std::size_t i = 0; i < w.size(); ++i)
      codes[i] = static_cast<std::uint8_t>(static_cast<int>(round_away(w[i] * inverse(d))) + 128);
    scale.scale = stored_scale(d);
  } else if (type.type == DType::q4_0) {
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

const BlockType* find_block_type(DType type) {
  const auto found = std::ranges::find(kTypes, type, &BlockType::type);
  return found == kTypes.end() ? nullptr : &*found;
}

std::size_t block_row_bytes(const BlockType& type, std::size_t in) {
  const DTypeTraits& stored = traits(type.type);
  return (in + stored.block - 1) / stored.block * (stored.bits / 8);
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
  require(blocks_of(type) == 1, "superblocks are read, not written");
  require(bytes.size() == block_row_bytes(type, row.codes.size()), "a row has all of its blocks");
  auto* to = reinterpret_cast<std::uint8_t*>(bytes.data());
  for (std::size_t b = 0; b < row.scales.size(); ++b, to += traits(type.type).bits / 8) {
    std::uint8_t codes[kBlock];
    std::fill_n(codes, kBlock, static_cast<std::uint8_t>(type.zero));
    std::copy_n(row.codes.begin() + static_cast<std::ptrdiff_t>(b * kBlock),
                std::min(kBlock, row.codes.size() - b * kBlock), codes);
    std::uint8_t* at = to;
    put_half(at, row.scales[b].scale);
    at += kHalf;
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

std::uint8_t nearest_block_code(const BlockType& type, const BlockScale& scale, double w) {
  const double least = type.bits == 8 ? 1 : 0, most = type.bits == 8 ? 255 : 15;
  if (scale.scale == 0) return static_cast<std::uint8_t>(type.zero);
  const double minimum = type.form == BlockScales::halves_and_minima ? scale.minimum : 0;
  const double level = (w - minimum) / static_cast<double>(scale.scale) + type.zero;
  return static_cast<std::uint8_t>(std::floor(std::clamp(level, least, most) + 0.5));
}

BlockRow round_to_blocks(const BlockType& type, std::span<const float> w) {
  require(blocks_of(type) == 1, "superblocks are read, not made");
  BlockRow row{std::vector<std::uint8_t>(w.size()),
               std::vector<BlockScale>((w.size() + kBlock - 1) / kBlock)};
  for (std::size_t b = 0; b < row.scales.size(); ++b)
    round_block(type, w.subspan(b * kBlock, std::min(kBlock, w.size() - b * kBlock)),
                row.codes.data() + b * kBlock, row.scales[b]);
  return row;
}

}  // namespace tender::quant
