#include "kernels/math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace tender::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Distance in units of the last place of the true value, which is at least the smallest denormal.
double ulps(float got, double truth) {
  const int exponent = std::max(std::ilogb(truth), -126);
  return std::fabs(static_cast<double>(got) - truth) / std::ldexp(1.0, exponent - 23);
}
double ulps(double got, long double truth) {
  const int exponent = std::max(std::ilogb(truth), -1022);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - truth) /
                             std::ldexp(1.0L, exponent - 52));
}

/// Floats of both signs at even steps of their bit patterns, so of every exponent.
template <class Body>
void for_floats(std::uint32_t step, Body body) {
  for (std::uint32_t bits = 0; bits < 0x7f800000U; bits += step) {
    body(std::bit_cast<float>(bits));
    body(-std::bit_cast<float>(bits));
  }
}

TEST(Math, ExpOfAFloatIsWithinOneUlpInEveryExponent) {
  double worst = 0;
  for_floats(997, [&](float x) {  // some 4.3 million; all there are once gave 0.895
    if (x < -103.0F || x > 88.7F) return;
    worst = std::max(worst, ulps(exp_f32(x), std::exp(static_cast<double>(x))));
  });
  EXPECT_LT(worst, 1.0);
  EXPECT_GT(worst, 0.5) << "nothing was measured";
}

TEST(Math, ExpOfAFloatEndsInInfinityAndZeroAndKeepsNan) {
  EXPECT_EQ(exp_f32(0), 1.0F);
  EXPECT_EQ(exp_f32(88.73F), kInfinity);
  EXPECT_EQ(exp_f32(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_EQ(exp_f32(kInfinity), kInfinity);
  EXPECT_EQ(exp_f32(-103.9F), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(exp_f32(-104.0F), 0.0F);
  EXPECT_EQ(exp_f32(-kInfinity), 0.0F);
  EXPECT_TRUE(std::isnan(exp_f32(kNan)));
}

TEST(Math, ExpIsWithinOneUlp) {
  double worst = 0;
  for (double x = -708; x < 709.7; x += 0.00313)
    worst = std::max(worst, ulps(fixed_exp(x), std::exp(static_cast<long double>(x))));
  EXPECT_LT(worst, 1.0);
  EXPECT_EQ(fixed_exp(0), 1.0);
  EXPECT_EQ(fixed_exp(710), INFINITY);
  EXPECT_EQ(fixed_exp(-INFINITY), 0);
  EXPECT_NEAR(fixed_exp(-740), std::exp(-740.0), 5e-324);  // the smallest denormal
  EXPECT_TRUE(std::isnan(fixed_exp(NAN)));
}

TEST(Math, LogIsWithinOneUlpInEveryExponent) {
  double worst = 0;
  for (std::uint64_t bits = 1; bits < 0x7ff0000000000000U; bits += 9'007'199'254'740'993U / 700) {
    const double x = std::bit_cast<double>(bits);
    worst = std::max(worst, ulps(fixed_log(x), std::log(static_cast<long double>(x))));
  }
  for (double x = 0.5; x < 2; x += 1.37e-6)
    if (x != 1) worst = std::max(worst, ulps(fixed_log(x), std::log(static_cast<long double>(x))));
  EXPECT_LT(worst, 1.0);
  EXPECT_EQ(fixed_log(1), 0);
  EXPECT_EQ(fixed_log(0), -INFINITY);
  EXPECT_EQ(fixed_log(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(fixed_log(-1)));
}

TEST(Math, SineAndCosineAreWithinOneAndAHalfUlpOrTwoToTheMinusSixty) {
  const auto check = [](double x) {
    const long double sine = std::sin(static_cast<long double>(x));
    const long double cosine = std::cos(static_cast<long double>(x));
    const auto good = [](double got, long double truth) {
      return ulps(got, truth) < 1.5 || std::fabs(static_cast<long double>(got) - truth) < 0x1p-60L;
    };
    EXPECT_TRUE(good(fixed_sin(x), sine)) << x << ": " << ulps(fixed_sin(x), sine);
    EXPECT_TRUE(good(fixed_cos(x), cosine)) << x << ": " << ulps(fixed_cos(x), cosine);
  };
  for (double x = -20; x < 20; x += 0.000377) check(x);
  for (double x = 1; x < 0x1p30; x *= 1.00013) check(x);
  for (int n = 1; n < 100'000; n += 7) check(n * 0x1.921fb54442d18p+0);  // near multiples of pi / 2
  for (int n = 0; n < 140'000; ++n) check(n);                            // positions
  EXPECT_EQ(fixed_sin(0), 0);
  EXPECT_EQ(fixed_cos(0), 1);
  EXPECT_TRUE(std::isnan(fixed_sin(1e300)));
  EXPECT_TRUE(std::isnan(fixed_cos(INFINITY)));
}

TEST(Math, PowersAreWithinTheirStatedBound) {
  for (const double base : {1e-3, 0.5, 2.0, 10'000.0, 500'000.0, 1e6})
    for (double y = -3; y < 3; y += 0.00217) {
      const long double truth =
          std::pow(static_cast<long double>(base), static_cast<long double>(y));
      const double bound = (2 + 2 * std::fabs(y * std::log(base))) * 0x1p-53;
      EXPECT_LE(std::fabs(static_cast<long double>(fixed_pow(base, y)) / truth - 1), bound)
          << base << " " << y;
    }
}

}  // namespace
}  // namespace tender::kernels
