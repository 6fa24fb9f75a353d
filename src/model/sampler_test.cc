#include "model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/error.h"

namespace tender::model {
namespace {

using ::testing::ElementsAre;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<TokenId> ids(Sampler& sampler, const std::vector<float>& logits,
                         const std::vector<TokenId>& seen = {},
                         const std::vector<std::uint8_t>& allowed = {}) {
  std::vector<TokenId> out;
  for (const auto& one : sampler.candidates(logits, seen, allowed)) out.push_back(one.id);
  return out;
}

std::vector<TokenId> kept(SamplerOptions options, const std::vector<float>& logits) {
  if (options.temperature == 0) options.temperature = 1;
  Sampler sampler(options);
  return ids(sampler, logits);
}

TokenId greedy(const std::vector<float>& logits, const std::vector<TokenId>& seen = {},
               const std::vector<std::uint8_t>& allowed = {}, SamplerOptions options = {}) {
  return Sampler(options).sample(logits, seen, allowed);
}

template <class Call>
std::string code_of(Call&& call) {
  try {
    call();
    return "none";
  } catch (const Error& error) {
    return error.code();
  }
}

TEST(SamplerTest, GreedyTakesTheGreatestLogitAndTheLowestIdOfEquals) {
  EXPECT_EQ(greedy({1, 3, 2}), 1);
  EXPECT_EQ(greedy({1, 3, 3, 3}), 1);
  EXPECT_EQ(greedy({-kInfinity, -5, -kInfinity}), 1);
  EXPECT_EQ(greedy({-0.0F, 0.0F}), 0);
}

TEST(SamplerTest, IdsThatAreNotAllowedNeverCome) {
  EXPECT_EQ(greedy({1, 3, 2}, {}, {1, 0, 1}), 2);
  EXPECT_EQ(greedy({1, kNan, 2}, {}, {1, 0, 1}), 2);
  Sampler sampler({.temperature = 1});
  EXPECT_THAT(ids(sampler, {1, 2, 3}, {}, {0, 1, 1}), ElementsAre(1, 2));
}

TEST(SamplerTest, LogitsThatAreNoNumbersAreAnError) {
  EXPECT_EQ(code_of([] { greedy({1, kNan, 2}); }), "LOGITS_NAN");
  EXPECT_EQ(code_of([] { greedy({1, kInfinity, 2}); }), "LOGITS_NAN");
  EXPECT_EQ(code_of([] { greedy({-kInfinity, -kInfinity}); }), "LOGITS_NAN");
  EXPECT_EQ(code_of([] { greedy({1, 2}, {}, {0, 0}); }), "LOGITS_NAN");
  EXPECT_EQ(code_of([] {
              Sampler({.temperature = 1}).sample(std::vector<float>{1, kNan}, {});
            }),
            "LOGITS_NAN");
}

TEST(SamplerTest, TheRepetitionPenaltyDividesWhatIsPositiveAndMultipliesWhatIsNegativeOnce) {
  const SamplerOptions options{.repetition_penalty = 2};
  EXPECT_EQ(greedy({4, 3, 1}, {0}, {}, options), 1);           // 4 / 2 < 3
  EXPECT_EQ(greedy({5, 3, 1}, {0, 0, 0, 0}, {}, options), 1);  // 5 / 2 < 3, but counted once …
  EXPECT_EQ(greedy({6, 2, 1}, {0, 0, 0, 0}, {}, options), 0);  // … for 6 / 2 > 2
  EXPECT_EQ(greedy({-1, -1.5F}, {0}, {}, options), 1);         // -1 * 2 < -1.5
  EXPECT_EQ(greedy({4, 3}, {0, 1}, {}, options), 0);
  EXPECT_EQ(greedy({4, 3}, {-1, 99}, {}, options), 0);  // ids that the model does not have
}

TEST(SamplerTest, ThePenaltyCanBeLimitedToTheLastTokens) {
  const SamplerOptions options{.repetition_penalty = 2, .repetition_last = 2};
  EXPECT_EQ(greedy({4, 3, 1}, {0, 2, 2}, {}, options), 0);
  EXPECT_EQ(greedy({4, 3, 1}, {2, 0, 2}, {}, options), 1);
}

TEST(SamplerTest, TopKKeepsTheHeaviestAndTheLowerIdsOfEquals) {
  EXPECT_THAT(kept({.top_k = 2}, {1, 4, 3, 2}), ElementsAre(1, 2));
  EXPECT_THAT(kept({.top_k = 3}, {2, 1, 2, 2, 2}), ElementsAre(0, 2, 3));
  EXPECT_THAT(kept({.top_k = 9}, {2, 1}), ElementsAre(0, 1));
  EXPECT_THAT(kept({.temperature = 1e-9, .top_k = 2}, {3, 1, 2}), ElementsAre(0, 2));
}

TEST(SamplerTest, TopPKeepsTheFewestThatHoldTheShare) {
  // shares 0.5, 0.25, 0.125, 0.125
  const std::vector<float> logits = {std::log(0.125F), std::log(0.5F), std::log(0.125F),
                                     std::log(0.25F)};
  EXPECT_THAT(kept({.top_p = 0}, logits), ElementsAre(1));
  EXPECT_THAT(kept({.top_p = 0.49}, logits), ElementsAre(1));
  EXPECT_THAT(kept({.top_p = 0.51}, logits), ElementsAre(1, 3));
  EXPECT_THAT(kept({.top_p = 0.76}, logits), ElementsAre(1, 3, 0));
  EXPECT_THAT(kept({.top_p = 0.9}, logits), ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(kept({.top_p = 1}, logits), ElementsAre(0, 1, 2, 3));
}

TEST(SamplerTest, TopPCountsTheShareOfWhatTopKLeft) {
  const std::vector<float> logits = {std::log(0.4F), std::log(0.3F), std::log(0.3F)};
  EXPECT_THAT(kept({.top_p = 0.5}, logits), ElementsAre(0, 1));
  EXPECT_THAT(kept({.top_k = 2, .top_p = 0.5}, logits), ElementsAre(0));  // 0.4 / 0.7 > 0.5
}

TEST(SamplerTest, MinPKeepsWhatIsHeavyBesidesTheHeaviest) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  EXPECT_THAT(kept({.min_p = 0.55}, logits), ElementsAre(0, 1));
  EXPECT_THAT(kept({.min_p = 0.39}, logits), ElementsAre(0, 1, 2));
  EXPECT_THAT(kept({.min_p = 1}, logits), ElementsAre(0));
}

TEST(SamplerTest, ALowTemperatureIsAllButGreedyAndAHighOneAllButUniform) {
  Sampler cold({.temperature = 1e-300});
  EXPECT_EQ(cold.sample(std::vector<float>{1, 3, 2}, {}), 1);
  Sampler hot({.temperature = 1e300});
  for (const auto& one : hot.candidates(std::vector<float>{1, 3, 2}, {})) EXPECT_EQ(one.weight, 1);
}

TEST(SamplerTest, TheSameSeedGivesTheSameTokensAndAnotherGivesOthers) {
  const std::vector<float> logits(100, 0.0F);
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<TokenId> out;
    for (int i = 0; i < 20; ++i) out.push_back(sampler.sample(logits, out));
    return out;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));  // the chance of equality is 100^-20
}

TEST(SamplerTest, TokensComeInProportionToTheirWeight) {
  const std::vector<double> shares = {0.05, 0.4, 0.0, 0.25, 0.3};
  std::vector<float> logits;
  for (const double share : shares) logits.push_back(static_cast<float>(0.7 * std::log(share)));
  Sampler sampler({.temperature = 0.7, .seed = 3});
  constexpr int kDraws = 40'000;
  std::map<TokenId, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits, {})];
  for (std::size_t id = 0; id < shares.size(); ++id) {
    // Binomial: five standard deviations, which chance exceeds once in 1.7 million. The share
    // itself is off by at most 1e-6 through float32 logits, 0.04 draws.
    const double deviation = std::sqrt(kDraws * shares[id] * (1 - shares[id]));
    EXPECT_NEAR(counts[static_cast<TokenId>(id)], kDraws * shares[id], 5 * deviation + 0.04) << id;
  }
}

TEST(SamplerTest, OptionsWithoutMeaningAreRefusedByName) {
  const auto refused = [](const SamplerOptions& options) {
    try {
      validate(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      EXPECT_EQ(error.code(), "OPTION_RANGE");
      return error.details().item;
    }
    return std::string("none");
  };
  EXPECT_EQ(refused({.temperature = -1}), "temperature");
  EXPECT_EQ(refused({.temperature = std::nan("")}), "temperature");
  EXPECT_EQ(refused({.top_p = 1.5}), "top_p");
  EXPECT_EQ(refused({.min_p = -0.1}), "min_p");
  EXPECT_EQ(refused({.repetition_penalty = 0}), "repetition_penalty");
  EXPECT_EQ(refused({.repetition_penalty = std::nan("")}), "repetition_penalty");
  EXPECT_EQ(refused({.temperature = 2, .top_k = 5, .top_p = 0, .min_p = 1}), "none");
}

}  // namespace
}  // namespace tender::model
