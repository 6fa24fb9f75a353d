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

/// KL(P || Q) by the textbook in long double.
long double divergence_of(const std::vector<float>& base, const std::vector<float>& model) {
  const auto log_sum_of = [](const std::vector<float>& logits) {
    return exactly(logits, 0) + static_cast<long double>(logits[0]);
  };
  const long double sum_p = log_sum_of(base);
  const long double sum_q = log_sum_of(model);
  long double sum = 0;
  for (std::size_t v = 0; v < base.size(); ++v) {
    const long double log_p = static_cast<long double>(base[v]) - sum_p;
    sum += std::exp(log_p) * (log_p - (static_cast<long double>(model[v]) - sum_q));
  }
  return sum;
}

TEST(CompareRowsTest, TheDivergenceIsThatOfTheFormula) {
  for (const std::size_t vocabulary : {1U, 2U, 9U, 257U, 3000U})
    for (const float spread : {0.01F, 3.0F, 100.0F, 1000.0F})
      for (const float apart : {1e-4F, 0.1F, 3.0F}) {
        const auto base = random_logits(vocabulary, spread, vocabulary);
        auto model = random_logits(vocabulary, apart, vocabulary + 1);
        for (std::size_t v = 0; v < vocabulary; ++v) model[v] += base[v];
        const std::size_t target = vocabulary / 2;
        const RowComparison found = compare_rows(base, model, target);
        const auto exact = static_cast<double>(divergence_of(base, model));
        // the docstring's bound for differences below ten standard deviations of both, and of the
        // long double, whose losses of up to 2 * 10 spread cancel: 2^-11 of the same
        const double reach = 20 * static_cast<double>(spread + apart) + 1;
        const double bound = (static_cast<double>(vocabulary) / 8 + 16) * 0x1p-52 * (reach + 1);
        EXPECT_NEAR(found.divergence, exact, bound) << vocabulary << " " << spread << " " << apart;
        EXPECT_EQ(found.base_loss, negative_log_probability(base, target));
        EXPECT_EQ(found.loss, negative_log_probability(model, target));
      }
}

TEST(CompareRowsTest, ARowBesideItselfHasNoDivergenceAndTheSameTopExactly) {
  for (const float spread : {0.0F, 1.0F, 1000.0F}) {
    const auto row = random_logits(777, spread, 5);
    const RowComparison found = compare_rows(row, row, 3);
    EXPECT_EQ(found.divergence, 0.0);
    EXPECT_TRUE(found.same_top);
    EXPECT_EQ(found.loss, found.base_loss);
  }
}

TEST(CompareRowsTest, AddingAConstantToAllLogitsChangesNothingButRounding) {
  const auto base = random_logits(300, 2, 5);
  auto model = base;
  for (float& each : model) each += 64;  // rounds to 2^-18 at most
  EXPECT_LT(compare_rows(base, model, 3).divergence, 2 * 0x1p-18);
  EXPECT_GE(compare_rows(base, model, 3).divergence, 0.0);
}

TEST(CompareRowsTest, TwoTokensGiveWhatAHandComputes) {
  // P = (1/2, 1/2), Q = (3/4, 1/4): ln(2/3)/2 + ln(2)/2 = ln(4/3)/2
  const std::vector<float> base = {0, 0};
  const std::vector<float> model = {std::log(3.0F), 0};
  const RowComparison found = compare_rows(base, model, 0);
  EXPECT_NEAR(found.divergence, std::log(4.0 / 3) / 2, 0x1p-24);  // of the float32 logarithm
  EXPECT_NEAR(found.base_loss, std::log(2.0), 0x1p-50);
}

TEST(CompareRowsTest, TheLowestTokenWinsTies) {
  const std::vector<float> tied = {1, 5, 5, 0};
  EXPECT_TRUE(compare_rows(tied, std::vector<float>{1, 5, 4, 0}, 0).same_top);
  EXPECT_FALSE(compare_rows(tied, std::vector<float>{1, 4, 5, 0}, 0).same_top);
}

TEST(CompareRowsTest, WhatTheBaseRulesOutCountsForNothingAndWhatTheModelRulesOutCountsWhole) {
  const float far = 3e38F;
  const std::vector<float> sure = {0, -far};
  const std::vector<float> even = {0, 0};
  EXPECT_NEAR(compare_rows(sure, even, 0).divergence, std::log(2.0), 0x1p-50);
  EXPECT_DOUBLE_EQ(compare_rows(even, sure, 0).divergence, static_cast<double>(far) / 2);
}

TEST(CompareRowsTest, ANaNInEitherRowGivesNaN) {
  const auto good = random_logits(11, 1, 3);
  for (std::size_t at = 0; at < 11; ++at) {
    auto bad = good;
    bad[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(compare_rows(bad, good, 2).divergence)) << at;
    EXPECT_TRUE(std::isnan(compare_rows(good, bad, 2).divergence)) << at;
    EXPECT_TRUE(std::isnan(compare_rows(good, bad, 2).loss)) << at;
  }
}

}  // namespace
}  // namespace tender::eval
