#include "quant/formats/number_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/rng.h"

namespace tender::quant {
namespace {

using Kind = NumberFormat::Kind;

/// What all single codes stand for, magnitudes only.
std::vector<float> magnitudes(const NumberFormat& format, int codes) {
  std::vector<float> values;
  for (int code = 0; code < codes; ++code) {
    const auto each = static_cast<std::int8_t>(code);
    float value = 0;
    format.decode({&each, 1}, {&value, 1});
    values.push_back(value);
  }
  return values;
}

std::vector<float> through(const NumberFormat& format, std::vector<float> u) {
  std::vector<std::int8_t> codes(u.size());
  format.encode(u, codes);
  format.decode(codes, u);
  return u;
}

TEST(NumberFormatTest, FourBitMagnitudesAreThoseOfThePaper) {
  EXPECT_EQ(magnitudes({Kind::integer, 4}, 8), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(magnitudes({Kind::power_of_two, 4}, 8),
            (std::vector<float>{0, 1, 2, 4, 8, 16, 32, 64}));
  EXPECT_EQ(magnitudes({Kind::flint, 4}, 8), (std::vector<float>{0, 1, 2, 3, 4, 6, 8, 16}));
}

TEST(NumberFormatTest, EightBitFlintHasEvery7BitMagnitudeOnceAndReaches4096) {
  const auto values = magnitudes({Kind::flint, 8}, 128);
  EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
  EXPECT_EQ(std::set<float>(values.begin(), values.end()).size(), 128U);
  EXPECT_EQ(values[63], 63.0F);
  EXPECT_EQ(values[64], 64.0F);
  EXPECT_EQ(values[65], 66.0F);
  EXPECT_EQ(values.back(), 4096.0F);
}

TEST(NumberFormatTest, EncodingFindsTheNearestNumberWithItsSign) {
  for (const Kind kind : {Kind::integer, Kind::power_of_two, Kind::flint}) {
    const NumberFormat format(kind, 4);
    const auto levels = magnitudes(format, 8);
    for (float u = -70; u <= 70; u += 0.37F) {
      float best = 0;
      for (const float level : levels)
        for (const float value : {level, -level})
          if (std::abs(value - u) < std::abs(best - u)) best = value;
      EXPECT_EQ(std::abs(through(format, {u})[0] - u), std::abs(best - u)) << u;
    }
  }
}

TEST(NumberFormatTest, TiesGoToTheSmallerMagnitude) {
  const NumberFormat format(Kind::flint, 4);
  EXPECT_EQ(through(format, {5, -5, 12, 0.5F}), (std::vector<float>{4, -4, 8, 0}));
}

TEST(NumberFormatTest, AnOutlierOfAPairIsAnAbfloatAndItsVictimZero) {
  const NumberFormat format(Kind::pairs, 4);
  std::vector<float> found;
  for (const float value : {12.0F, 16.0F, 24.0F, 32.0F, 48.0F, 64.0F, 96.0F})
    EXPECT_EQ(through(format, {value, 3, -2, -value}), (std::vector<float>{value, 0, 0, -value}));
  EXPECT_EQ(through(format, {500, 1}), (std::vector<float>{96, 0})) << "the largest there is";
  EXPECT_EQ(through(format, {20, -90}), (std::vector<float>{0, -96})) << "the larger is kept";
  EXPECT_EQ(through(format, {9.5F, 3}), (std::vector<float>{7, 3})) << "halfway is no outlier";
  EXPECT_EQ(through(format, {9.6F, 3}), (std::vector<float>{12, 0}));
  EXPECT_EQ(through(format, {1, 2, 50}), (std::vector<float>{1, 2, 7})) << "no partner, no outlier";
}

TEST(NumberFormatTest, EightBitOutliersReachFrom144To32768) {
  const NumberFormat format(Kind::pairs, 8);
  EXPECT_EQ(through(format, {127, 5}), (std::vector<float>{127, 5}));
  EXPECT_EQ(through(format, {143, 5}), (std::vector<float>{144, 0}));
  EXPECT_EQ(through(format, {1e6F, 5}), (std::vector<float>{32768, 0}));
}

TEST(FitStepTest, TheStepIsTheBestOfTheGridAndEqualStepsOfIntegersAreFound) {
  Rng rng(9, "fit");
  Matrix x(4, 200);
  float largest = 0;
  for (float& value : x.span()) {
    value = rng.normal();
    largest = std::max(largest, std::abs(value));
  }
  for (const Kind kind : {Kind::integer, Kind::power_of_two, Kind::flint, Kind::pairs}) {
    const NumberFormat format(kind, 4);
    const StepFit fit = fit_step(format, x.view(), largest, 4);
    std::vector<std::int8_t> codes(200);
    std::vector<float> rounded(200);
    for (int j = 0; j <= 32; ++j) {
      double error = 0;
      for (std::size_t m = 0; m < x.rows(); ++m) {
        round_to_format(format, x.row(m),
                        largest / format.top() * std::exp2(static_cast<float>(-j) / 8), codes,
                        rounded);
        for (std::size_t k = 0; k < 200; ++k) error += std::pow(rounded[k] - x(m, k), 2);
      }
      EXPECT_LE(fit.error, error * (1 + 1e-4)) << j;  // exp2 and the table differ in the last bit
    }
  }
  const Matrix zeros = [] {
    Matrix all(2, 3);
    std::ranges::fill(all.span(), 0.0F);
    return all;
  }();
  EXPECT_EQ(fit_step(NumberFormat(Kind::flint, 4), zeros.view(), 0, 4).step, 1.0F);
}

/// What ANT is about: every distribution has its type.
TEST(FitStepTest, UniformValuesFitIntegersLaplaceFlintAndPowersOfTwoThemselves) {
  Rng rng(10, "types");
  const auto best_for = [&](auto&& draw) {
    Matrix x(20, 500);
    float largest = 0;
    for (float& value : x.span()) {
      value = draw(static_cast<float>(rng.below(1 << 20)) / (1 << 20) + 0x1p-21F) *
              (rng.below(2) == 0 ? -1.0F : 1.0F);
      largest = std::max(largest, std::abs(value));
    }
    Kind best = Kind::integer;
    double least = std::numeric_limits<double>::infinity();
    for (const Kind kind : {Kind::integer, Kind::power_of_two, Kind::flint}) {
      const double error = fit_step(NumberFormat(kind, 4), x.view(), largest, 4).error;
      if (error < least) least = error, best = kind;
    }
    return best;
  };
  EXPECT_EQ(best_for([](float uniform) { return uniform; }), Kind::integer);
  EXPECT_EQ(best_for([](float uniform) { return -std::log(uniform); }), Kind::flint);
  EXPECT_EQ(best_for([](float uniform) { return std::exp2(std::floor(7 * uniform)); }),
            Kind::power_of_two);
}

}  // namespace
}  // namespace tender::quant
