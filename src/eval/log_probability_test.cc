#include "eval/log_probability.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace tender::eval {
namespace {

/// The textbook formula in long double (64 bits of mantissa, so its own error is 2^-11 of the
/// bound).
long double exactly(const std::vector<float>& logits, std::size_t target) {
  long double most = logits[0];
  for (const float each : logits) most = std::max(most, static_cast<long double>(each));
  long double sum = 0;
  for (const float each : logits) sum += std::exp(static_cast<long double>(each) - most);
  return std::log(sum) - (static_cast<long double>(logits[target]) - most);
}

std::vector<float> random_logits(std::size_t count, float spread, std::uint64_t seed) {
  Rng rng(seed, "logits");
  std::vector<float> logits(count);
  for (float& each : logits) each = spread * rng.normal();
  return logits;
}

TEST(NegativeLogProbabilityTest, AgreesWithTheFormulaWithinItsBound) {
  for (const std::size_t vocabulary : {1U, 2U, 7U, 8U, 9U, 257U, 5000U})
    for (const float spread : {0.0F, 0.01F, 3.0F, 100.0F, 1000.0F}) {
      const auto logits = random_logits(vocabulary, spread, vocabulary);
      for (const std::size_t target : {std::size_t{0}, vocabulary / 2, vocabulary - 1}) {
        const auto exact = static_cast<double>(exactly(logits, target));
        // the docstring's bound, then the rounding of the last addition and of the logarithm
        const double bound = (static_cast<double>(vocabulary) / 8 + 16) * 0x1p-53 + 0x1p-49 +
                             2 * std::abs(exact) * 0x1p-53;
        EXPECT_NEAR(negative_log_probability(logits, target), exact, bound)
            << vocabulary << " logits, spread " << spread;
      }
    }
}

TEST(NegativeLogProbabilityTest, EqualLogitsGiveTheLogarithmOfTheVocabulary) {
  EXPECT_DOUBLE_EQ(negative_log_probability(std::vector<float>(1024, -3.0F), 5), std::log(1024.0));
}

TEST(NegativeLogProbabilityTest, ExtremeLogitsNeitherOverflowNorVanish) {
  EXPECT_EQ(negative_log_probability(std::vector<float>{3e38F, -3e38F}, 0), 0.0);
  EXPECT_DOUBLE_EQ(negative_log_probability(std::vector<float>{3e38F, -3e38F}, 1),
                   2.0 * static_cast<double>(3e38F));
}

TEST(NegativeLogProbabilityTest, ANaNAnywhereGivesNaN) {
  for (std::size_t at = 0; at < 11; ++at) {
    auto logits = random_logits(11, 1, 3);
    logits[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(negative_log_probability(logits, 2))) << at;
  }
}

}  // namespace
}  // namespace tender::eval
