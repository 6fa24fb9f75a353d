#include "eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/toy_model_test_support.h"

namespace tender::eval {
namespace {

using ::testing::HasSubstr;

/// What the textbook says of one position.
struct Position {
  double base_loss = 0, loss = 0, divergence = 0, same_top = 0, change = 0;
};

Position position_of(const std::vector<TokenId>& window, std::size_t at, float bend) {
  const TokenId before = at == 0 ? -1 : window[at - 1];
  std::array<std::vector<double>, 2> logits;
  std::array<double, 2> log_sum{};
  for (std::size_t m = 0; m < 2; ++m) {
    double sum = 0;
    for (std::size_t v = 0; v < kVocabulary; ++v) {
      logits[m].push_back(
          static_cast<double>(toy_logit(v, window[at], before, at, m == 0 ? 0 : bend)));
      sum += std::exp(logits[m].back());
    }
    log_sum[m] = std::log(sum);
  }
  Position found;
  const auto target = static_cast<std::size_t>(window[at + 1]);
  found.base_loss = log_sum[0] - logits[0][target];
  found.loss = log_sum[1] - logits[1][target];
  found.change = std::exp(-found.loss) - std::exp(-found.base_loss);
  for (std::size_t v = 0; v < kVocabulary; ++v) {
    const double log_p = logits[0][v] - log_sum[0];
    found.divergence += std::exp(log_p) * (log_p - (logits[1][v] - log_sum[1]));
  }
  const auto top = [](const std::vector<double>& row) {
    return std::max_element(row.begin(), row.end()) - row.begin();  // the first of the largest
  };
  found.same_top = top(logits[0]) == top(logits[1]) ? 1 : 0;
  return found;
}

/// The numbers that enter a mean: one per scored token, or per window its mean.
class Scored {
 public:
  Scored(const PerplexityPlan& plan, float bend) : plan_(plan) {
    for (std::size_t w = 0; w < plan.windows; ++w)
      for (std::size_t at = plan.protocol->first_scored(plan.seqlen); at + 1 < plan.seqlen; ++at)
        positions_.push_back(position_of(plan.window(w), at, bend));
  }
  template <class F>
  std::vector<double> all(F quantity) const {
    std::vector<double> values;
    for (const Position& each : positions_) values.push_back(quantity(each));
    return values;
  }
  template <class F>
  Moments mean(F quantity) const {
    const std::vector<double> values = all(quantity);
    if (!plan_.protocol->means_of_windows) return moments(values);
    std::vector<double> means;
    const std::size_t per_window = values.size() / plan_.windows;
    for (std::size_t w = 0; w < plan_.windows; ++w) {
      double sum = 0;
      for (std::size_t t = 0; t < per_window; ++t) sum += values[w * per_window + t];
      means.push_back(sum / static_cast<double>(per_window));
    }
    return moments(means);
  }

 private:
  const PerplexityPlan& plan_;
  std::vector<Position> positions_;
};

ComparisonResult compare(const PerplexityPlan& plan, std::vector<float> bends,
                         std::size_t threads = 1) {
  ThreadPool pool(threads);
  Progress silent;
  const ToyModel base;
  std::vector<ToyModel> toys;
  for (const float bend : bends) toys.emplace_back(bend);
  std::vector<std::unique_ptr<EvaluatedModel>> evaluated;
  for (const ToyModel& toy : toys) evaluated.push_back(evaluate_whole(toy));
  std::vector<NamedModel> models;
  for (const auto& each : evaluated) models.push_back({"bent", each.get()});
  return run_comparison({"toy", evaluate_whole(base).get()}, models, plan, pool, silent);
}

// Sums of some hundred values and of 258 exponentials; the textbook's variance cancels up to four
// digits of the mean square: 1e-12 of it, which a square root of variances near 1e-6 makes 1e-9.
void expect_near(const Estimate& found, const Moments& expected, const char* what) {
  EXPECT_NEAR(found.value, expected.mean, 1e-11) << what;
  ASSERT_TRUE(found.error.has_value()) << what;
  EXPECT_NEAR(*found.error, expected.error, 1e-9) << what;
}

class CompareTest : public ::testing::TestWithParam<Protocol> {
 protected:
  PerplexityPlan plan(std::size_t bytes = 300, std::size_t seqlen = 40,
                      std::optional<std::size_t> limit = std::nullopt) const {
    return plan_perplexity(input_of(some_text(bytes)), ByteTokenizer(true),
                           {.protocol = &GetParam(), .seqlen = seqlen, .limit = limit});
  }
};

TEST_P(CompareTest, EveryMeasureIsThatOfTheTextbookWithItsPairedError) {
  constexpr float kBend = 0.07F;
  const auto cut = plan();
  const auto result = compare(cut, {kBend});
  const Agreement& found = result.models[0];
  const Scored scored(cut, kBend);
  const auto base = scored.mean([](const Position& p) { return p.base_loss; });
  const auto loss = scored.mean([](const Position& p) { return p.loss; });
  const auto gap = scored.mean([](const Position& p) { return p.loss - p.base_loss; });
  const auto square = scored.mean([](const Position& p) { return p.change * p.change; });
  expect_near(result.base_cross_entropy, base, "base");
  expect_near(found.cross_entropy, loss, "model");
  expect_near(found.cross_entropy_difference, gap, "difference");
  expect_near(found.divergence, scored.mean([](const Position& p) { return p.divergence; }), "KL");
  expect_near(found.same_top, scored.mean([](const Position& p) { return p.same_top; }), "top");
  expect_near(found.change, scored.mean([](const Position& p) { return p.change; }), "change");
  expect_near(found.rms_change,
              {std::sqrt(square.mean), 0.5 / std::sqrt(square.mean) * square.error}, "rms");
  const double ratio = std::exp(gap.mean);
  EXPECT_NEAR(found.perplexity_ratio.value, ratio, 1e-11);
  EXPECT_NEAR(*found.perplexity_ratio.error, ratio * gap.error, 1e-9);
  EXPECT_NEAR(found.excess_percent.value, 100 * (ratio - 1), 1e-9);
  EXPECT_NEAR(*found.excess_percent.error, 100 * ratio * gap.error, 1e-7);
  EXPECT_LT(*found.cross_entropy_difference.error, *found.cross_entropy.error)
      << "paired: what makes a text hard is hard for both";
}

TEST_P(CompareTest, WhatFollowsFromTheCovarianceIsThatOfTheTextbook) {
  constexpr float kBend = 0.07F;
  const auto cut = plan();
  const auto result = compare(cut, {kBend});
  const Scored scored(cut, kBend);
  const auto p = scored.mean([](const Position& each) { return each.base_loss; });
  const auto q = scored.mean([](const Position& each) { return each.loss; });
  const double perplexity_p = std::exp(p.mean), perplexity_q = std::exp(q.mean);
  // cov(p, q) of the means by what both losses add up to: var(p + q) = var p + var q + 2 cov
  const auto sum = scored.mean([](const Position& each) { return each.base_loss + each.loss; });
  const double cov = (sum.error * sum.error - p.error * p.error - q.error * q.error) / 2;
  const Agreement& found = result.models[0];
  EXPECT_NEAR(*found.correlation, cov / (p.error * q.error), 1e-6);
  EXPECT_NEAR(found.perplexity_difference.value, perplexity_q - perplexity_p, 1e-8);
  const double variance = std::pow(perplexity_q * q.error, 2) +
                          std::pow(perplexity_p * p.error, 2) -
                          2 * perplexity_p * perplexity_q * cov;
  EXPECT_NEAR(*found.perplexity_difference.error, std::sqrt(variance), 1e-5);
}

TEST_P(CompareTest, PercentilesInterpolateBetweenSortedPositions) {
  constexpr float kBend = 0.1F;
  const auto cut = plan(400);
  const Agreement found = compare(cut, {kBend}).models[0];
  auto values = Scored(cut, kBend).all([](const Position& p) { return p.divergence; });
  ASSERT_GE(values.size(), 100U);
  std::sort(values.begin(), values.end());
  for (const Percentile& each : found.divergences) {
    const double place = each.fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(std::floor(place));
    const auto above = static_cast<std::size_t>(std::ceil(place));
    const double expected =
        values[below] + (place - std::floor(place)) * (values[above] - values[below]);
    EXPECT_NEAR(each.value, expected, 1e-12) << each.fraction;
  }
  EXPECT_EQ(found.divergences.front().fraction, 0.0);
  EXPECT_EQ(found.divergences.back().fraction, 1.0);
  EXPECT_TRUE(std::is_sorted(found.changes.begin(), found.changes.end(),
                             [](const auto& a, const auto& b) { return a.value < b.value; }));
  EXPECT_TRUE(compare(plan(81), {kBend}).models[0].divergences.empty()) << "too few positions";
}

TEST_P(CompareTest, AModelBesideItselfHasNoExcessNoDivergenceAndFullAgreementExactly) {
  const auto result = compare(plan(), {0});
  const Agreement& found = result.models[0];
  EXPECT_EQ(found.excess_percent.value, 0.0);
  EXPECT_EQ(found.excess_percent.error, 0.0);
  EXPECT_EQ(found.perplexity_ratio.value, 1.0);
  EXPECT_EQ(found.divergence.value, 0.0);
  EXPECT_EQ(found.divergences.back().value, 0.0);
  EXPECT_EQ(found.same_top.value, 1.0);
  EXPECT_EQ(found.rms_change.value, 0.0);
  EXPECT_EQ(found.rms_change.error, 0.0);
  EXPECT_NEAR(*found.correlation, 1.0, 1e-15);
  EXPECT_EQ(found.perplexity.value, result.base_perplexity.value);
}

TEST_P(CompareTest, PerplexitiesAreTheBitsOfAPerplexityRun) {
  const auto cut = plan();
  const auto result = compare(cut, {0.05F, 0.2F});
  ThreadPool pool(2);
  Progress silent;
  const auto base = run_perplexity(ToyModel(), cut, pool, silent);
  const auto bent = run_perplexity(ToyModel(0.2F), cut, pool, silent);
  EXPECT_EQ(result.base_perplexity.value, base.perplexity);
  EXPECT_EQ(result.base_perplexity.error, base.standard_error);
  EXPECT_EQ(result.models[1].perplexity.value, bent.perplexity);
  EXPECT_EQ(result.models[1].perplexity.error, bent.standard_error);
  EXPECT_EQ(result.scored_tokens, bent.scored_tokens);
}

TEST_P(CompareTest, EveryNumberHasTheSameBitsForAnyNumberOfThreadsAndAnyCompany) {
  const auto cut = plan();
  const std::string one = to_json(compare(cut, {0.05F}, 1).models[0]).dump();
  for (const std::size_t threads : {2U, 3U}) {
    const auto more = compare(cut, {0.3F, 0.05F}, threads);
    EXPECT_EQ(to_json(more.models[1]).dump(), one);
  }
}

TEST_P(CompareTest, EndedEarlyTheResultIsThatOfTheWindowsBeforeAndSaysSo) {
  const auto whole = plan();
  const ToyModel toy, bent_toy(0.1F);
  const auto base = evaluate_whole(toy), bent = evaluate_whole(bent_toy);
  const std::vector<NamedModel> models = {{"bent", bent.get()}};
  ThreadPool pool(1);
  StopAfter progress(2);
  const auto result = run_comparison({"toy", base.get()}, models, whole, pool, progress);
  EXPECT_TRUE(result.interrupted);
  EXPECT_TRUE(result.partial);
  EXPECT_EQ(result.windows, 2U);
  EXPECT_THAT(progress.what_, HasSubstr("excess +"));
  const auto limited = compare(plan(300, 40, 2), {0.1F});
  EXPECT_FALSE(limited.interrupted);
  EXPECT_EQ(to_json(result.models[0]).dump(), to_json(limited.models[0]).dump());
  StopAfter at_once(0);
  EXPECT_THROW(run_comparison({"toy", base.get()}, models, whole, pool, at_once), Error);
}

INSTANTIATE_TEST_SUITE_P(Protocols, CompareTest,
                         ::testing::ValuesIn(all_protocols().begin(), all_protocols().end()),
                         [](const auto& tested) {
                           std::string name(tested.param.name);
                           std::erase(name, '.');
                           return name;
                         });

std::string code_of(const std::function<void()>& body, const std::string& says) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(says));
    return error.code();
  }
  return "";
}

TEST(CompareVocabularyTest, ModelsThatPredictOtherTokensAreRefused) {
  class Wide : public ToyModel {
   public:
    Wide() { info_.vocabulary = 320; }
  };
  const auto plan = plan_perplexity(input_of(some_text(50)), ByteTokenizer(), {.seqlen = 10});
  ThreadPool pool(1);
  Progress silent;
  const ToyModel toy;
  const Wide wide_toy;
  const auto base = evaluate_whole(toy), wide = evaluate_whole(wide_toy);
  const std::vector<NamedModel> models = {{"wide", wide.get()}};
  EXPECT_EQ(code_of(
                [&] {
                  run_comparison({"toy", base.get()}, models, plan, pool, silent);
                },
                "320 tokens"),
            "COMPARE_VOCABULARY");
}

TEST(CompareLossTest, LogitsThatAreNoNumbersNameTheirModel) {
  class Broken : public ToyModel {
   public:
    void logits(MatrixView<const float> hidden, MatrixView<float> logits,
                ThreadPool& pool) const override {
      ToyModel::logits(hidden, logits, pool);
      logits(4, 7) = std::numeric_limits<float>::quiet_NaN();
    }
  };
  const auto plan = plan_perplexity(input_of(some_text(50)), ByteTokenizer(), {.seqlen = 10});
  ThreadPool pool(1);
  Progress silent;
  const ToyModel good_toy;
  const Broken broken_toy;
  const auto good = evaluate_whole(good_toy), broken = evaluate_whole(broken_toy);
  const std::vector<NamedModel> models = {{"good", good.get()}, {"broken", broken.get()}};
  EXPECT_EQ(code_of(
                [&] {
                  run_comparison({"toy", good.get()}, models, plan, pool, silent);
                },
                "of 'broken' of scored token 4 in window 0"),
            "LOGITS_NAN");
}

/// One that differs from ByteTokenizer in one thing at a time.
class Odd : public ByteTokenizer {
 public:
  enum class In { nothing, piece, hole, size, ids };
  explicit Odd(In in, bool adds_bos = true) : ByteTokenizer(adds_bos), in_(in) {}
  std::size_t vocabulary() const override {
    return ByteTokenizer::vocabulary() + (in_ == In::size ? 1 : 0);
  }
  std::string piece(TokenId id, bool keep_special) const override {
    return in_ == In::piece && id == 'q' ? "Q" : ByteTokenizer::piece(id, keep_special);
  }
  bool exists(TokenId id) const override {
    return !(in_ == In::hole && id == 'z') && ByteTokenizer::exists(id);
  }
  std::vector<TokenId> encode(std::string_view text,
                              const text::EncodeOptions& options) const override {
    auto ids = ByteTokenizer::encode(text, options);
    if (in_ == In::ids) ids[17] = 'a';
    return ids;
  }

 private:
  In in_;
};

TEST(CompareTokenizerTest, WhatDiffersIsNamed) {
  const ByteTokenizer base(true);
  const auto refusal = [&](const text::Tokenizer& other, const std::string& says) {
    const std::vector<NamedTokenizer> both = {{"base", &base}, {"other", &other}};
    return code_of([&] { plan_comparison(input_of(some_text(50)), both, {.seqlen = 10}); }, says);
  };
  EXPECT_EQ(refusal(Odd(Odd::In::nothing), ""), "");
  for (const auto& [in, says] : std::vector<std::pair<Odd::In, std::string>>{
           {Odd::In::size, "the number of its tokens is 259, expected 258"},
           {Odd::In::piece, "token 113 is 'Q', expected 'q'"},
           {Odd::In::hole, "token 122 is none, expected 'z'"},
           {Odd::In::ids, "id 17 of the text is 97"}})
    EXPECT_EQ(refusal(Odd(in), says), "COMPARE_TOKENIZER") << says;
  EXPECT_EQ(refusal(Odd(Odd::In::nothing, false), "whether it adds BOS is no, expected yes"),
            "COMPARE_TOKENIZER");
}

TEST(CompareJsonTest, PercentilesAreNullBelowAHundredPositions) {
  const auto plan = plan_perplexity(input_of(some_text(50)), ByteTokenizer(), {.seqlen = 10});
  const OrderedJson json = to_json(compare(plan, {0.1F}).models[0]);
  EXPECT_TRUE(json["kl_divergence_percentiles"].is_null());
  EXPECT_TRUE(json["delta_p_percentiles"].is_null());
  EXPECT_GT(json["kl_divergence"]["value"], 0.0);
}

}  // namespace

}  // namespace tender::eval
