#include "eval/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "eval/toy_model_test_support.h"

namespace tender::eval {
namespace {

using ::testing::HasSubstr;

PerplexityResult run(const PerplexityPlan& plan, std::size_t threads = 1) {
  ThreadPool pool(threads);
  Progress silent;
  return run_perplexity(ToyModel(), plan, pool, silent);
}

// Perplexities below are some 200; a hundred rounding errors of 2^-53 in their logarithm are 2e-12.
constexpr double kRounding = 1e-11;

TEST(GptqProtocolTest, ScoresAllButTheFirstTokenAndAveragesTheMeansOfWindows) {
  const ByteTokenizer tokenizer(true);
  const std::string text = some_text(42);  // with BOS 43 tokens: 4 windows of 10, a tail of 3
  const auto plan = plan_perplexity(input_of(text), tokenizer, {.seqlen = 10});
  EXPECT_EQ(plan.tokens.size(), 43U);
  EXPECT_EQ(plan.windows, 4U);
  EXPECT_EQ(plan.text_sha256, sha256_hex(text));
  std::vector<double> means;
  for (std::size_t w = 0; w < 4; ++w) {
    const std::vector<TokenId> window(
        plan.tokens.begin() + static_cast<std::ptrdiff_t>(10 * w),
        plan.tokens.begin() + static_cast<std::ptrdiff_t>(10 * w + 10));
    EXPECT_EQ(plan.window(w), window) << "no BOS but the one in front of the text";
    double sum = 0;
    for (std::size_t position = 0; position < 9; ++position) sum += toy_loss(window, position);
    means.push_back(sum / 9);
  }
  const auto result = run(plan);
  const Moments expected = moments(means);
  EXPECT_NEAR(result.perplexity, std::exp(expected.mean), kRounding);
  EXPECT_NEAR(result.standard_error.value(), std::exp(expected.mean) * expected.error, kRounding);
  EXPECT_EQ(result.scored_tokens, 36U);
  EXPECT_FALSE(result.partial);
  for (std::size_t w = 0; w < 4; ++w) EXPECT_NEAR(result.cross_entropies[w], means[w], kRounding);
}

TEST(LlamaCppProtocolTest, ScoresTheSecondHalfOfWindowsThatBeginWithBos) {
  const ByteTokenizer tokenizer(true);
  for (const std::size_t seqlen : {10U, 11U}) {
    const std::string text = some_text(39);
    const auto plan = plan_perplexity(input_of(text + "\n"), tokenizer,
                                      {.protocol = &protocol("llama.cpp"), .seqlen = seqlen});
    EXPECT_EQ(plan.tokens.size(), 40U) << "one final newline is dropped";
    EXPECT_EQ(plan.text_sha256, sha256_hex(text));
    std::vector<double> losses;
    for (std::size_t w = 0; w < plan.windows; ++w) {
      std::vector<TokenId> window(
          plan.tokens.begin() + static_cast<std::ptrdiff_t>(seqlen * w),
          plan.tokens.begin() + static_cast<std::ptrdiff_t>(seqlen * (w + 1)));
      window[0] = ByteTokenizer::kBos;
      for (std::size_t position = seqlen / 2; position + 1 < seqlen; ++position)
        losses.push_back(toy_loss(window, position));
    }
    const auto result = run(plan);
    const Moments expected = moments(losses);
    EXPECT_EQ(result.windows, 40 / seqlen);
    EXPECT_EQ(result.scored_tokens, 40 / seqlen * (seqlen - seqlen / 2 - 1));
    EXPECT_NEAR(result.perplexity, std::exp(expected.mean), kRounding);
    EXPECT_NEAR(result.standard_error.value(), std::exp(expected.mean) * expected.error, kRounding);
  }
}

TEST(LlamaCppProtocolTest, WithoutBosWindowsStayAsTheyAre) {
  const auto plan = plan_perplexity(input_of(some_text(20)), ByteTokenizer(false),
                                    {.protocol = &protocol("llama.cpp"), .seqlen = 10});
  EXPECT_EQ(plan.window(1), std::vector<TokenId>(plan.tokens.begin() + 10, plan.tokens.end()));
}

TEST(LlamaCppProtocolTest, OnlyOneFinalNewlineIsDropped) {
  const auto plan = plan_perplexity(input_of(some_text(20) + "\n\n"), ByteTokenizer(false),
                                    {.protocol = &protocol("llama.cpp"), .seqlen = 10});
  EXPECT_EQ(plan.tokens.size(), 21U);
}

TEST(LlamaCppProtocolTest, ATokenizerThatAddsEosIsRefused) {
  try {
    plan_perplexity(input_of(some_text(40)), ByteTokenizer(true, true),
                    {.protocol = &protocol("llama.cpp"), .seqlen = 10});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "PROTOCOL_EOS");
    EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  }
}

class EveryProtocolTest : public ::testing::TestWithParam<Protocol> {};

TEST_P(EveryProtocolTest, GivesTheSameBitsForAnyNumberOfThreads) {
  const auto plan = plan_perplexity(input_of(some_text(300)), ByteTokenizer(true),
                                    {.protocol = &GetParam(), .seqlen = 50});
  const auto one = run(plan, 1);
  for (const std::size_t threads : {2U, 3U}) {
    const auto more = run(plan, threads);
    EXPECT_EQ(more.perplexity, one.perplexity);
    EXPECT_EQ(more.standard_error, one.standard_error);
  }
}

TEST_P(EveryProtocolTest, ALimitTakesTheFirstWindows) {
  const PerplexityOptions whole{.protocol = &GetParam(), .seqlen = 10};
  auto limited = whole;
  limited.limit = 3;
  const ByteTokenizer tokenizer(true);
  const auto all = run(plan_perplexity(input_of(some_text(99)), tokenizer, whole));
  const auto plan = plan_perplexity(input_of(some_text(99)), tokenizer, limited);
  const auto few = run(plan);
  EXPECT_EQ(plan.available_windows, 10U);
  EXPECT_EQ(few.windows, 3U);
  EXPECT_EQ(few.cross_entropies,
            std::vector<double>(all.cross_entropies.begin(), all.cross_entropies.begin() + 3));
  EXPECT_TRUE(few.partial) << "three windows of ten";
  EXPECT_FALSE(few.interrupted) << "as many as were asked for";
}

TEST_P(EveryProtocolTest, ATextTooShortIsRefusedWithTheNumberOfItsTokens) {
  const std::size_t least = GetParam().least_windows * 10;
  EXPECT_NO_THROW(plan_perplexity(input_of(some_text(least)), ByteTokenizer(),
                                  {.protocol = &GetParam(), .seqlen = 10}));
  for (const std::size_t bytes : {std::size_t{0}, least - 1}) {
    try {
      plan_perplexity(input_of(some_text(bytes)), ByteTokenizer(),
                      {.protocol = &GetParam(), .seqlen = 10});
      FAIL() << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "TXT_TOO_SHORT");
      EXPECT_THAT(error.what(), HasSubstr(std::to_string(bytes) + " tokens"));
    }
  }
}

TEST_P(EveryProtocolTest, EndedEarlyTheResultIsThatOfTheWindowsBeforeAndSaysSo) {
  const ByteTokenizer tokenizer;
  const auto plan =
      plan_perplexity(input_of(some_text(60)), tokenizer, {.protocol = &GetParam(), .seqlen = 10});
  ThreadPool pool(1);
  StopAfter progress(2);
  const auto result = run_perplexity(ToyModel(), plan, pool, progress);
  EXPECT_TRUE(result.partial);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.windows, 2U);
  EXPECT_EQ(progress.total_, 6U);
  EXPECT_THAT(progress.what_, HasSubstr("perplexity "));
  auto limited = plan;
  limited.windows = 2;
  EXPECT_EQ(result.perplexity, run(limited).perplexity);
  StopAfter at_once(0);
  EXPECT_THROW(run_perplexity(ToyModel(), plan, pool, at_once), Error);
}

TEST_P(EveryProtocolTest, TheResultNamesTextProtocolAndCounts) {
  const auto plan = plan_perplexity(input_of(some_text(45)), ByteTokenizer(),
                                    {.protocol = &GetParam(), .seqlen = 10, .limit = 3});
  const auto json = to_json(plan, run(plan));
  for (const char* key : {"perplexity", "standard_error", "tokens", "scored_tokens", "windows",
                          "protocol", "seqlen", "join", "text_sha256", "seconds"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["tokens"], 45);
  EXPECT_EQ(json["windows"], 3);
  EXPECT_EQ(json["windows_in_text"], 4);
  EXPECT_EQ(json["protocol"], GetParam().name);
}

TEST_P(EveryProtocolTest, ValuesWithoutMeaningAreRefused) {
  const Protocol& rules = GetParam();
  for (const PerplexityOptions& options :
       {PerplexityOptions{.protocol = &rules, .seqlen = rules.least_seqlen - 1},
        PerplexityOptions{.protocol = &rules, .seqlen = 0},
        PerplexityOptions{.protocol = &rules, .seqlen = std::size_t{1} << 40U},
        PerplexityOptions{.protocol = &rules, .limit = 0}}) {
    try {
      validate(options);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    }
  }
  EXPECT_NO_THROW(validate({.protocol = &rules, .seqlen = rules.least_seqlen}));
}

INSTANTIATE_TEST_SUITE_P(Protocols, EveryProtocolTest,
                         ::testing::ValuesIn(all_protocols().begin(), all_protocols().end()),
                         [](const auto& tested) {
                           std::string name(tested.param.name);
                           std::erase(name, '.');
                           return name;
                         });

TEST(ProtocolTest, AnUnknownNameIsRefusedWithThoseThatExist) {
  try {
    protocol("hf-stride");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    for (const Protocol& each : all_protocols())
      EXPECT_THAT(error.what(), HasSubstr(std::string(each.name)));
  }
}

TEST(PerplexityTest, OneWindowHasNoStandardErrorOfWindowMeans) {
  const auto plan = plan_perplexity(input_of(some_text(15)), ByteTokenizer(), {.seqlen = 10});
  const auto result = run(plan);
  EXPECT_FALSE(result.standard_error.has_value());
  EXPECT_TRUE(to_json(plan, result)["standard_error"].is_null());
}

TEST(PerplexityTest, WindowsLongerThanTheModelWasMadeForAreReported) {
  class Notes : public Progress {
   public:
    void note(std::string_view sentence) override { text += sentence; }
    std::string text;
  } notes;
  ThreadPool pool(1);
  run_perplexity(ToyModel(),
                 plan_perplexity(input_of(some_text(65)), ByteTokenizer(), {.seqlen = 65}), pool,
                 notes);
  EXPECT_THAT(notes.text, HasSubstr("longer than the 64"));
}

TEST(PerplexityTest, LogitsThatAreNoNumbersAreRefusedWithTheirWindow) {
  class Broken : public ToyModel {
   public:
    void logits(MatrixView<const float> hidden, MatrixView<float> logits,
                ThreadPool& pool) const override {
      ToyModel::logits(hidden, logits, pool);
      if (++calls_ == 2) logits(4, 7) = std::numeric_limits<float>::quiet_NaN();
    }

   private:
    mutable int calls_ = 0;
  };
  const auto plan = plan_perplexity(input_of(some_text(35)), ByteTokenizer(), {.seqlen = 10});
  ThreadPool pool(1);
  Progress silent;
  try {
    run_perplexity(Broken(), plan, pool, silent);
    FAIL() << "a perplexity of NaN was returned";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "LOGITS_NAN");
    EXPECT_THAT(error.what(), HasSubstr("in window 1 is nan"));
  }
}

}  // namespace

}  // namespace tender::eval
