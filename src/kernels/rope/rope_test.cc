#include "kernels/rope/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/kernel_testing.h"

namespace tender::kernels {
namespace {

TEST(Rope, FrequenciesAreTheRoundedPowersOfTheta) {
  const Rope rope({.theta = 500'000, .rotary_width = 64});
  ASSERT_EQ(rope.frequencies().size(), 32U);
  for (std::size_t i = 0; i < 32; ++i) {
    const double truth = std::pow(500'000.0, -static_cast<double>(i) / 32);
    EXPECT_NEAR(static_cast<double>(rope.frequencies()[i]), truth, 0x1.0001p-24 * truth) << i;
  }
}

TEST(Rope, LinearScalingDividesEveryFrequency) {
  const Rope plain({.rotary_width = 8}),
      scaled({.rotary_width = 8, .scaling = RopeScaling::linear, .factor = 4});
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(scaled.frequencies()[i], plain.frequencies()[i] / 4);
}

TEST(Rope, Llama3ScalingKeepsHighStretchesLowAndBlendsBetween) {
  const RopeParameters parameters{.theta = 500'000,
                                  .rotary_width = 128,
                                  .scaling = RopeScaling::llama3,
                                  .factor = 8,
                                  .low_frequency_factor = 1,
                                  .high_frequency_factor = 4,
                                  .original_context = 8192};
  const Rope rope(parameters), plain({.theta = 500'000, .rotary_width = 128});
  std::size_t kept = 0, stretched = 0, blended = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    const double f = static_cast<double>(plain.frequencies()[i]);
    const double turns = 8192 * f / (2 * 3.14159265358979323846);  // in the original context
    const double share = std::min(1.0, std::max(0.0, (turns - 1) / (4 - 1)));
    const double truth = (1 - share) * f / 8 + share * f;
    EXPECT_NEAR(static_cast<double>(rope.frequencies()[i]), truth, 0x1.0001p-24 * truth) << i;
    (share == 1 ? kept : share == 0 ? stretched : blended) += 1;
  }
  EXPECT_TRUE(kept > 0 && stretched > 0 && blended > 0);
}

TEST(Rope, FrequencyFactorsDivide) {
  const Rope plain({.rotary_width = 4});
  const Rope rope({.rotary_width = 4, .frequency_factors = {1, 32}});
  EXPECT_EQ(rope.frequencies()[0], plain.frequencies()[0]);
  EXPECT_EQ(rope.frequencies()[1], plain.frequencies()[1] / 32);
}

TEST(Rope, TurnsSplitHalvesOfEachHeadAndLeavesTheRest) {
  Rng rng(1, "rope");
  const std::size_t width = 10, rotary = 6;
  const Matrix x = testing::random_matrix(4, 3 * width, rng);
  const std::vector<std::int32_t> positions = {0, 1, 77, 100'000};
  const Rope rope({.rotary_width = rotary});
  RopeAngles angles;
  ThreadPool pool(2);
  rope.turn(positions, angles, pool);
  Matrix y = x.copy();
  apply_rope(angles, width, y.view().cols_from(0, 2 * width), y.view().cols_from(2 * width, width),
             pool);
  for (std::size_t t = 0; t < 4; ++t)
    for (std::size_t head = 0; head < 3 * width; head += width) {
      for (std::size_t i = 0; i < 3; ++i) {
        const double angle =
            static_cast<double>(static_cast<float>(positions[t]) * rope.frequencies()[i]);
        const double a = static_cast<double>(x(t, head + i)),
                     b = static_cast<double>(x(t, head + i + 3));
        const double bound = 3 * 0x1p-24 * (std::fabs(a) + std::fabs(b));  // cos, product, sum
        EXPECT_NEAR(static_cast<double>(y(t, head + i)), a * std::cos(angle) - b * std::sin(angle),
                    bound);
        EXPECT_NEAR(static_cast<double>(y(t, head + i + 3)),
                    b * std::cos(angle) + a * std::sin(angle), bound);
      }
      for (std::size_t d = rotary; d < width; ++d) EXPECT_EQ(y(t, head + d), x(t, head + d));
    }
}

}  // namespace
}  // namespace tender::kernels
