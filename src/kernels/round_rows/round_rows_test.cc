#include "kernels/round_rows/round_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tender::kernels {

void PrintTo(const RoundRowsKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

class RoundRowsTest : public ::testing::TestWithParam<RoundRowsKernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
  std::vector<std::int16_t> round(const std::vector<float>& u, float factor, float low,
                                  float high) const {
    std::vector<std::int16_t> codes(u.size() + 1, 999);
    GetParam().round(u.data(), factor, low, high, u.size(), codes.data());
    EXPECT_EQ(codes.back(), 999) << "wrote past the row";
    codes.pop_back();
    return codes;
  }
};

TEST_P(RoundRowsTest, TiesGoToTheEvenCodeAndBothEndsClamp) {
  // Twice, so that vector bodies and tails both see every value.
  std::vector<float> u = {0.5F, -0.5F,   1.5F,    -1.5F, 2.5F,  -2.5F,  0.49999997F, 126.5F, 127.5F,
                          1e9F, -127.5F, -128.5F, -1e9F, 3e38F, -3e38F, -0.0F,       1e-40F};
  std::vector<std::int16_t> expected = {0,   0,    2,    -2,   2,   -2,   0, 126, 127,
                                        127, -128, -128, -128, 127, -128, 0, 0};
  u.insert(u.end(), u.begin(), u.end());
  expected.insert(expected.end(), expected.begin(), expected.end());
  EXPECT_EQ(round(u, 1, -128, 127), expected);
}

TEST_P(RoundRowsTest, UnsignedCodesStopAtZeroAndAtTheTop) {
  EXPECT_EQ(round({-3, -0.2F, 0.5F, 254.5F, 255.5F, 256}, 1, 0, 255),
            (std::vector<std::int16_t>{0, 0, 0, 254, 255, 255}));
}

TEST_P(RoundRowsTest, GivesTheBitsOfTheDefinitionForEveryLength) {
  const RoundRowsKernel& scalar = round_rows_kernels().back();
  Rng rng(5, "round rows");
  for (std::size_t in = 1; in <= 70; ++in)
    for (const int with : {0, 1, 2, 3}) {
      std::vector<float> x(in), bias(in), multiplier(in), u(in, -1), expected(in, -2);
      for (std::size_t k = 0; k < in; ++k) {
        x[k] = 10 * rng.normal();
        bias[k] = rng.normal();
        multiplier[k] = static_cast<float>(1 + rng.uniform());
      }
      const float* off = (with & 1) != 0 ? bias.data() : nullptr;
      const float* by = (with & 2) != 0 ? multiplier.data() : nullptr;
      const RowReach a = GetParam().scale(x.data(), off, by, in, u.data());
      const RowReach b = scalar.scale(x.data(), off, by, in, expected.data());
      EXPECT_EQ(a.magnitude, b.magnitude);
      EXPECT_EQ(a.largest, b.largest);
      EXPECT_EQ(std::memcmp(u.data(), expected.data(), in * sizeof(float)), 0) << in;
      std::vector<std::int16_t> codes(in), same(in);
      GetParam().round(u.data(), 3.7F, -128, 127, in, codes.data());
      scalar.round(u.data(), 3.7F, -128, 127, in, same.data());
      EXPECT_EQ(codes, same) << in;
    }
}

TEST_P(RoundRowsTest, ReachIsTheLargestMagnitudeAndTheLargestValueAboveZero) {
  for (std::size_t in = 1; in <= 40; ++in)
    for (std::size_t at = 0; at < in; ++at) {
      std::vector<float> x(in, -2.0F), u(in);
      x[at] = -5;
      RowReach reach = GetParam().scale(x.data(), nullptr, nullptr, in, u.data());
      EXPECT_EQ(std::bit_cast<float>(reach.magnitude), 5.0F);
      EXPECT_EQ(reach.largest, 0.0F);
      x[at] = 1.5F;
      reach = GetParam().scale(x.data(), nullptr, nullptr, in, u.data());
      EXPECT_EQ(reach.largest, 1.5F);
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
            std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        x[at] = bad;
        EXPECT_GE(GetParam().scale(x.data(), nullptr, nullptr, in, u.data()).magnitude, kNotFinite);
      }
    }
}

TEST_P(RoundRowsTest, AnElementOnAThresholdBelongsToItAndKeepsTheStepsOfItsOctave) {
  // peak 256, codes to 127, 4 groups: steps 256/127 * 1, 1/2, 1/4, 1/8; operands in eighths.
  const std::vector<float> x = {256, -256, 128, 128.5F, -64, 32, 33, 16, 1, 0, -0.0F, 1e-40F};
  // 127 at each power of two down to 32; 128.5 and 33 just above a threshold take the coarser step
  const std::vector<std::int16_t> expected = {127 * 8, -127 * 8, 127 * 4, 64 * 8, -127 * 2, 127,
                                              65 * 2,  64,       4,       0,      0,        0};
  std::vector<std::int16_t> operands(x.size() + 1, 999);
  GetParam().elements(x.data(), 256, 127.0F / 256, -128, 127, 4, x.size(), operands.data());
  EXPECT_EQ(operands.back(), 999) << "wrote past the row";
  operands.pop_back();
  EXPECT_EQ(operands, expected);
}

TEST_P(RoundRowsTest, ElementsOfUnsignedRowsStopAtZeroAndReachTheTopOfAWord) {
  const std::vector<float> x = {-900, -1, 0, 2, 1, 0.25F, 0.015625F, 0.0078125F, 0.001F};
  std::vector<std::int16_t> operands(x.size());
  GetParam().elements(x.data(), 2, 255.0F / 2, 0, 255, 8, x.size(), operands.data());
  EXPECT_EQ(operands,
            (std::vector<std::int16_t>{0, 0, 0, 255 * 128, 255 * 64, 255 * 16, 255, 128, 16}));
}

TEST_P(RoundRowsTest, ElementsHaveTheBitsOfTheDefinitionForEveryLengthAndNumberOfGroups) {
  const RoundRowsKernel& scalar = round_rows_kernels().back();
  Rng rng(6, "round elements");
  for (std::size_t in = 1; in <= 70; ++in)
    for (const int groups : {1, 2, 8, 13}) {
      std::vector<float> x(in);
      float peak = 0x1p-90F;
      for (float& value : x) {
        value = rng.normal() * static_cast<float>(std::exp2(-20 * rng.uniform()));
        peak = std::max(peak, std::abs(value));
      }
      const float high = groups > 8 ? 7 : 127;
      for (const float low : {-high - 1, 0.0F}) {
        std::vector<std::int16_t> operands(in), same(in);
        GetParam().elements(x.data(), peak, high / peak, low, high, groups, in, operands.data());
        scalar.elements(x.data(), peak, high / peak, low, high, groups, in, same.data());
        EXPECT_EQ(operands, same) << in;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(All, RoundRowsTest,
                         ::testing::ValuesIn(round_rows_kernels().begin(),
                                             round_rows_kernels().end()),
                         [](const auto& kernel) { return std::string(kernel.param.name); });

}  // namespace
}  // namespace tender::kernels
