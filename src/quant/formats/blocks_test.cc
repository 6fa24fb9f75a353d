#include "quant/formats/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "base/rng.h"
#include "io/checkpoint.h"
#include "quant/methods/gguf/gguf.h"

namespace tender::quant {
namespace {

std::vector<float> dequantized(const BlockType& type, std::span<const std::byte> bytes,
                               std::size_t in) {
  BlockRow row;
  read_block_row(type, bytes, in, row);
  std::vector<float> w;
  for (std::size_t k = 0; k < in; ++k) w.push_back(block_weight(type, row, k));
  return w;
}

// Whatever bytes a block has, its weights are those that the reader of files gives.
TEST(Blocks, AnyBytesGiveTheWeightsThatFilesAreReadAs) {
  Rng rng(51, "blocks");
  for (const BlockType& type : block_types())
    for (int repeat = 0; type.file && repeat < 50; ++repeat) {
      constexpr std::size_t kIn = 512;
      std::vector<std::byte> bytes(block_row_bytes(type, kIn));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.below(256));
      TensorInfo tensor{"t", *type.file, {1, kIn}, bytes};
      std::vector<float> expected(kIn);
      io::to_float32(tensor, expected);
      const std::vector<float> found = dequantized(type, bytes, kIn);
      for (std::size_t k = 0; k < kIn; ++k) {
        if (std::isnan(expected[k]))
          EXPECT_TRUE(std::isnan(found[k]));
        else
          ASSERT_EQ(found[k], expected[k]) << type.name << " " << k;
      }
    }
}

TEST(Blocks, TheFirstTypesAreThoseThatAreMade) {
  EXPECT_EQ(written_block_types().size(), kGgufTypes.size());
  for (const BlockType& type : block_types())
    EXPECT_EQ(is_written(type), &type - block_types().data() <
                                    static_cast<std::ptrdiff_t>(written_block_types().size()))
        << type.name;
}

// Every float16 that is a number, through panels and back.
TEST(Blocks, PanelsKeepEveryScale) {
  kernels::PanelsBlocks panels({1, 32}, 4, 8, kernels::BlockScales::halves);
  const std::vector<std::uint8_t> codes(32, 9);
  std::vector<float> w(32);
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const float scale = half_to_float(static_cast<std::uint16_t>(bits));
    const std::vector<kernels::BlockScale> scales = {{scale, 0, 1, 0}};
    panels.put(0, codes, scales);
    panels.take(0, w);
    if (std::isnan(scale))
      ASSERT_TRUE(std::isnan(w[5])) << bits;
    else
      ASSERT_EQ(w[5], scale) << bits;
  }
}

TEST(Blocks, RowsAreReadAsTheyWereWritten) {
  Rng rng(52, "blocks");
  for (const BlockType& type : written_block_types()) {
    std::vector<float> w(70);  // the last block is short
    for (float& value : w) value = rng.normal();
    BlockRow row;
    if (type.file) row = round_to_blocks(type, w);
    for (std::size_t k = 0; !type.file && k < w.size(); ++k)
      row.codes.push_back(static_cast<std::uint8_t>(rng.below(std::uint64_t{1} << type.bits)));
    for (std::size_t b = 0; !type.file && b < 3; ++b) row.scales.push_back({rng.normal(), 0, 1, 0});
    std::vector<std::byte> bytes(block_row_bytes(type, w.size()));
    write_block_row(type, row, bytes);
    BlockRow back;
    read_block_row(type, bytes, w.size(), back);
    EXPECT_EQ(back.codes, row.codes);
    for (std::size_t b = 0; b < row.scales.size(); ++b) {
      EXPECT_EQ(back.scales[b].scale, row.scales[b].scale);
      EXPECT_EQ(back.scales[b].minimum, row.scales[b].minimum);
    }
  }
}

// Worked by hand from the format: d of Q4_0 is the signed largest over -8, of Q4_1 the range over
// 15, of Q8_0 the largest over 127.
TEST(Blocks, ScalesAndCodesAreThoseOfTheReference) {
  std::vector<float> w(32, 0.0F);
  w[0] = -4.0F;
  w[1] = 3.9F;
  w[2] = 0.26F;
  const BlockRow four = round_to_blocks(*find_block_type(DType::q4_0), w);
  EXPECT_EQ(four.scales[0].scale, 0.5F);
  EXPECT_EQ(four.codes[0], 0);
  EXPECT_EQ(four.codes[1], 15) << "3.9 / 0.5 + 8.5 is 16.3";
  EXPECT_EQ(four.codes[2], 9);
  EXPECT_EQ(four.codes[3], 8);
  const BlockRow eight = round_to_blocks(*find_block_type(DType::q8_0), w);
  EXPECT_EQ(eight.scales[0].scale, half_to_float(float_to_half(4.0F / 127)));
  EXPECT_EQ(eight.codes[0], 1) << "-127";
  EXPECT_EQ(eight.codes[1], 128 + 124);
  w[3] = 11.0F;
  const BlockRow ends = round_to_blocks(*find_block_type(DType::q4_1), w);
  EXPECT_EQ(ends.scales[0].scale, 1.0F);
  EXPECT_EQ(ends.scales[0].minimum, -4.0F);
  EXPECT_EQ(ends.codes[0], 0);
  EXPECT_EQ(ends.codes[2], 4);
  EXPECT_EQ(ends.codes[3], 15);
}

TEST(Blocks, TheNearestCodeIsNeverFurtherThanAnyOther) {
  Rng rng(53, "nearest");
  for (const BlockType& type : written_block_types()) {
    for (int repeat = 0; repeat < 200; ++repeat) {
      const kernels::BlockScale scale{half_to_float(float_to_half(0.1F * rng.normal())),
                                      half_to_float(float_to_half(rng.normal())), 1, 0};
      const double w = 2 * rng.normal();
      const std::uint8_t code = nearest_block_code(type, scale, w);
      const double error = std::abs(w - block_weight(type, code, scale));
      for (int other = type.bits == 8 || !type.file ? 1 : 0; other < 1 << type.bits; ++other)
        ASSERT_LE(error, std::abs(w - block_weight(type, static_cast<std::uint8_t>(other), scale)) +
                             1e-12);
    }
  }
}

// Panels hold what was put there: any codes, any finite scales, a panel that is not full.
TEST(Blocks, PanelsGiveTheWeightsOfTheirRowsBack) {
  Rng rng(54, "panels");
  constexpr std::size_t kOut = 19;
  for (const BlockType& type : block_types()) {
    const bool super = type.width != 32;
    const std::size_t in = super ? 512 : 70;
    kernels::PanelsBlocks panels({kOut, in}, type.bits, type.zero, type.form);
    std::vector<std::vector<float>> expected;
    for (std::size_t n = 0; n < kOut; ++n) {
      BlockRow row;
      for (std::size_t k = 0; k < in; ++k)
        row.codes.push_back(static_cast<std::uint8_t>(rng.below(std::uint64_t{1} << type.bits)));
      for (std::size_t b = 0; b < (in + 31) / 32; ++b) {
        if (b == 0 || !super || b % 8 == 0)
          row.scales.push_back({half_to_float(float_to_half(rng.normal())),
                                half_to_float(float_to_half(rng.normal())), 1, 0});
        else
          row.scales.push_back(row.scales.back());
        if (!super) continue;
        row.scales.back().times = static_cast<std::uint8_t>(rng.below(64));
        row.scales.back().min_times = static_cast<std::uint8_t>(rng.below(64));
      }
      panels.put(n, row.codes, row.scales);
      expected.emplace_back();
      for (std::size_t k = 0; k < in; ++k) expected.back().push_back(block_weight(type, row, k));
    }
    std::vector<float> found(in);
    for (std::size_t n = 0; n < kOut; ++n) {
      panels.take(n, found);
      EXPECT_EQ(found, expected[n]) << type.name << " output " << n;
    }
  }
}

// Quotients by their scales would not be finite.
TEST(Blocks, WeightsTooSmallForAScaleAreZero) {
  std::vector<float> w(32, 1e-42F);
  w[3] = -2e-42F;
  for (const BlockType& type : written_block_types()) {
    if (!type.file) continue;
    const BlockRow row = round_to_blocks(type, w);
    for (std::size_t k = 0; k < w.size(); ++k)
      EXPECT_EQ(block_weight(type, row.codes[k], row.scales[0]), 0.0F) << type.name;
  }
}

TEST(Blocks, AScaleBeyondFloat16IsRefused) {
  const std::vector<float> w(32, 1e9F);
  try {
    round_to_blocks(*find_block_type(DType::q8_0), w);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "FLOAT_RANGE");
  }
}

TEST(Blocks, AMatrixOfLentRowsIsTheSameAsOneOfItsOwn) {
  const BlockType& type = *find_block_type(DType::q4_0);
  Rng rng(53, "lent");
  std::vector<std::byte> bytes(3 * block_row_bytes(type, 64));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.below(256));
  const std::size_t each = block_row_bytes(type, 64);
  const BlockMatrix own(type, {3, 64}, bytes);
  const BlockMatrix lent(type, {3, 64},
                         {bytes.data(), bytes.data() + each, bytes.data() + 2 * each});
  const BlockMatrix turned(type, {3, 64},
                           {bytes.data() + each, bytes.data(), bytes.data() + 2 * each});
  EXPECT_EQ(own, lent);
  EXPECT_FALSE(own == turned);
  EXPECT_TRUE(std::ranges::equal(turned.row(0), own.row(1)));
}

}  // namespace
}  // namespace tender::quant
