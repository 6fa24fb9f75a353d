#include "quant/formats/symmetric.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/rng.h"
#include "quant/memory_parts.h"

namespace tender::quant {
namespace {

Matrix matrix(std::size_t rows, std::size_t cols, std::initializer_list<float> values) {
  Matrix m(rows, cols);
  std::copy(values.begin(), values.end(), m.span().begin());
  return m;
}

TEST(Symmetric, CodesOfFourBitsAreNibblesWithEvenInputsInTheLowOne) {
  const Matrix w = matrix(2, 3, {7, -7, 3, 0, -1.75, 3.5});  // scales 1 and 1/2
  const SymmetricCodes codes = quantize_symmetric(w.view(), 4, WeightGranularity::channel, 0);
  EXPECT_EQ(codes.codes, (std::vector<std::int8_t>{7, -7, 3, 0, -4, 7}));  // -3.5 is a tie
  EXPECT_EQ(codes.scales, (std::vector<float>{1, 0.5}));
  const SymmetricBytes packed = pack_symmetric(codes);
  EXPECT_THAT(packed.bytes.span(), ::testing::ElementsAre(0x97, 0x03, 0xc0, 0x07));
  EXPECT_EQ(packed.payload(), 4U + 8);
  EXPECT_EQ(unpack_symmetric(packed), codes);
}

TEST(Symmetric, EveryCodeOfEveryWidthSurvivesPacking) {
  for (int bits = 2; bits <= 8; ++bits) {
    const int low = -(1 << (bits - 1)), count = 1 << bits;
    for (const int pad : {0, 1}) {
      SymmetricCodes codes{{1, static_cast<std::size_t>(count + pad)}, bits, 0, {}, {1.0F}};
      for (int c = 0; c < count; ++c) codes.codes.push_back(static_cast<std::int8_t>(low + c));
      if (pad == 1) codes.codes.push_back(static_cast<std::int8_t>(low));
      EXPECT_EQ(unpack_symmetric(pack_symmetric(codes)), codes) << bits;
    }
  }
}

TEST(Symmetric, TiesGoToTheEvenCodeAndTheLowestCodeIsNeverMade) {
  const Matrix w = matrix(1, 7, {127, 0.5, 1.5, 2.5, -0.5, -2.5, -127});
  const SymmetricCodes codes = quantize_symmetric(w.view(), 8, WeightGranularity::channel, 0);
  EXPECT_EQ(codes.codes, (std::vector<std::int8_t>{127, 0, 2, 2, 0, -2, -127}));
}

TEST(Symmetric, GroupsHaveScalesOfTheirOwnAndTheLastMayBeShorter) {
  const Matrix w = matrix(1, 5, {7, 1, 14, 2, 3.5});
  const SymmetricCodes codes = quantize_symmetric(w.view(), 4, WeightGranularity::group, 2);
  EXPECT_EQ(codes.scales, (std::vector<float>{1, 2, 0.5}));
  EXPECT_EQ(codes.codes, (std::vector<std::int8_t>{7, 1, 7, 1, 7}));
  EXPECT_EQ(codes.scale(0, 3), 2.0F);
  EXPECT_EQ(codes.scale(0, 4), 0.5F);
}

TEST(Symmetric, OneScaleMayServeTheWholeMatrix) {
  const Matrix w = matrix(2, 2, {7, 1, -14, 2});
  const SymmetricCodes codes = quantize_symmetric(w.view(), 4, WeightGranularity::tensor, 0);
  EXPECT_EQ(codes.scales, (std::vector<float>{2}));
  EXPECT_EQ(codes.codes, (std::vector<std::int8_t>{4, 0, -7, 1}));  // 3.5 and 0.5 are ties
}

TEST(Symmetric, RowsOfZerosAndOfTinyNumbersHaveScaleOneAndCodesZero) {
  const Matrix w = matrix(2, 2, {0, 0, 1e-38F, -1e-45F});
  const SymmetricCodes codes = quantize_symmetric(w.view(), 8, WeightGranularity::channel, 0);
  EXPECT_EQ(codes.scales, (std::vector<float>{1, 1}));
  EXPECT_EQ(codes.codes, (std::vector<std::int8_t>{0, 0, 0, 0}));
}

TEST(Symmetric, QuantizingDequantizedWeightsGivesTheSameScalesToTheLastBit) {
  Rng rng(1, "symmetric");
  Matrix w(20000, 2), again(20000, 2);
  for (float& value : w.span())
    value = std::ldexp(rng.normal(), static_cast<int>(rng.below(60)) - 40);
  w(0, 0) = std::numeric_limits<float>::max();
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    const SymmetricCodes codes = quantize_symmetric(w.view(), bits, WeightGranularity::channel, 0);
    dequantize_symmetric(codes, again.view());
    EXPECT_EQ(quantize_symmetric(again.view(), bits, WeightGranularity::channel, 0), codes) << bits;
    for (std::size_t n = 1; n < w.rows();
         ++n) {  // within an ulp of the maximum over the highest code
      const float largest = std::max(std::abs(w(n, 0)), std::abs(w(n, 1)));
      EXPECT_NEAR(codes.scales[n] * static_cast<float>((1 << (bits - 1)) - 1), largest,
                  0x1p-22F * largest);
    }
  }
}

TEST(Symmetric, PartsThatDisagreeWithTheSiteAreRefused) {
  const Matrix w = matrix(2, 6, {7, -7, 3, 0, 1, 2, 1, 2, 3, 4, 5, 6});
  MemoryParts parts;
  save_symmetric(pack_symmetric(quantize_symmetric(w.view(), 4, WeightGranularity::group, 3)), "x",
                 parts);
  EXPECT_NO_THROW(load_symmetric(parts, "x", 6, 4, WeightGranularity::group, 3));
  EXPECT_THROW(load_symmetric(parts, "x", 8, 4, WeightGranularity::group, 3), Error);
  EXPECT_THROW(load_symmetric(parts, "x", 6, 8, WeightGranularity::group, 3), Error);
  EXPECT_THROW(load_symmetric(parts, "x", 6, 4, WeightGranularity::group, 2), Error);
  EXPECT_THROW(load_symmetric(parts, "x", 6, 4, WeightGranularity::channel, 0), Error);
  EXPECT_THROW(load_symmetric(parts, "x", 6, 3, WeightGranularity::group, 3),
               Error);  // codes of 4 bits
  EXPECT_THROW(load_symmetric(parts, "y", 6, 4, WeightGranularity::group, 3), Error);
}

TEST(Symmetric, AMultiplierThatTakesACodeOutOfEightBitsIsRefused) {
  const auto code_after_loading = [](int code, int multiplier) -> std::string {
    SymmetricCodes codes{{2, 16}, 4, 8, std::vector<std::int8_t>(32, 1), {1, 1}, {1, 1, 1, 1}};
    codes.codes[27] = static_cast<std::int8_t>(code);
    codes.multipliers[3] = static_cast<std::uint8_t>(multiplier);
    MemoryParts parts;
    save_symmetric(pack_symmetric(codes), "w", parts);
    try {
      const SymmetricBytes loaded =
          load_symmetric(parts, "w", 16, 4, WeightGranularity::multiplier, 8);
      EXPECT_EQ(unpack_symmetric(loaded), codes);
    } catch (const Error& error) {
      return error.code();
    }
    return "";
  };
  EXPECT_EQ(code_after_loading(-8, 15), "");
  EXPECT_EQ(code_after_loading(-8, 16), "QC_RANGE");
  EXPECT_EQ(code_after_loading(-7, 18), "");
  EXPECT_EQ(code_after_loading(7, 18), "");
  EXPECT_EQ(code_after_loading(1, 19), "QC_RANGE");
  EXPECT_EQ(code_after_loading(1, 0), "QC_RANGE");
}

TEST(Symmetric, SuchACodeIsFoundWhereverItStandsAndInItsOwnGroupAlone) {
  for (const std::size_t in : {15U, 16U, 67U, 130U})
    for (const std::size_t group : {1U, 2U, 3U, 5U, 8U, 16U, 19U, 32U, 35U, 64U}) {
      const std::size_t groups = (in + group - 1) / group;
      for (std::size_t loud = 0; loud < groups; ++loud)
        for (std::size_t k = 0; k < in; ++k) {
          SymmetricCodes codes{{2, in}, 4,
                               group,   std::vector<std::int8_t>(2 * in, 7),
                               {1, 1},  std::vector<std::uint8_t>(2 * groups, 1)};
          codes.codes[in + k] = -8;
          codes.multipliers[groups + loud] = 18;
          MemoryParts parts;
          save_symmetric(pack_symmetric(codes), "w", parts);
          const auto load = [&] {
            load_symmetric(parts, "w", in, 4, WeightGranularity::multiplier, group);
          };
          if (k / group == loud)
            EXPECT_THROW(load(), Error) << in << " " << group << " " << k;
          else
            EXPECT_NO_THROW(load()) << in << " " << group << " " << k;
        }
    }
}

}  // namespace
}  // namespace tender::quant
