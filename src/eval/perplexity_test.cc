#include "eval/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "tests/support/byte_tokenizer.h"

namespace tender::eval {
namespace {

using ::tender::testing::ByteTokenizer;
using ::testing::HasSubstr;
using text::TokenId;

constexpr std::size_t kVocabulary = 258;

/// Logit of `next` after `token` at `position` with `before` in front (-1 at the start).
float toy_logit(std::size_t next, TokenId token, TokenId before, std::size_t position) {
  const std::size_t mix = next * 7 + static_cast<std::size_t>(token) * 3 +
                          static_cast<std::size_t>(before + 1) * 5 + position;
  return static_cast<float>(mix % 13) * 0.25F;
}

class ToySequence : public model::Sequence {
 public:
  explicit ToySequence(std::size_t capacity) : capacity_(capacity) {}
  std::size_t tokens() const override { return seen.size(); }
  std::size_t capacity() const override { return capacity_; }
  void truncate(std::size_t tokens) override { seen.resize(tokens); }
  std::size_t bytes() const override { return 0; }
  std::vector<TokenId> seen;

 private:
  std::size_t capacity_;
};

/// A model whose logits can be said without running it: a row of hidden is token, token before,
/// position.
class ToyModel : public model::Model {
 public:
  ToyModel() {
    info_.vocabulary = kVocabulary;
    info_.context = 64;
    info_.width = 3;
  }
  const model::ModelInfo& info() const override { return info_; }
  std::span<const model::SiteSpec> sites() const override { return {}; }
  const quant::PackedSite& site(std::size_t) const override { std::abort(); }
  std::unique_ptr<model::Sequence> sequence(std::size_t context) const override {
    return std::make_unique<ToySequence>(context);
  }
  void forward(std::span<const model::BatchItem> batch, Matrix& hidden, ThreadPool&,
               model::SiteObserver*) const override {
    require(batch.size() == 1, "one item");
    auto& sequence = dynamic_cast<ToySequence&>(*batch[0].sequence);
    const auto tokens = batch[0].tokens;
    require(sequence.tokens() + tokens.size() <= sequence.capacity(), "the sequence has room");
    hidden.resize(tokens.size() - batch[0].logits_from, 3);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const TokenId before = sequence.seen.empty() ? -1 : sequence.seen.back();
      sequence.seen.push_back(tokens[i]);
      if (i < batch[0].logits_from) continue;
      const auto row = hidden.row(i - batch[0].logits_from);
      row[0] = static_cast<float>(tokens[i]);
      row[1] = static_cast<float>(before);
      row[2] = static_cast<float>(sequence.tokens() - 1);
    }
  }
  void logits(MatrixView<const float> hidden, MatrixView<float> logits,
              ThreadPool&) const override {
    for (std::size_t r = 0; r < hidden.rows(); ++r)
      for (std::size_t v = 0; v < kVocabulary; ++v)
        logits(r, v) =
            toy_logit(v, static_cast<TokenId>(hidden(r, 0)), static_cast<TokenId>(hidden(r, 1)),
                      static_cast<std::size_t>(hidden(r, 2)));
  }
  std::size_t resident_bytes() const override { return 0; }

 private:
  model::ModelInfo info_;
};

/// -ln P of window[position + 1] by the textbook.
double toy_loss(const std::vector<TokenId>& window, std::size_t position) {
  double sum = 0;
  const TokenId before = position == 0 ? -1 : window[position - 1];
  const auto logit = [&](std::size_t next) {
    return static_cast<double>(toy_logit(next, window[position], before, position));
  };
  for (std::size_t v = 0; v < kVocabulary; ++v) sum += std::exp(logit(v));
  return std::log(sum) - logit(static_cast<std::size_t>(window[position + 1]));
}

TextInput input_of(const std::string& text) {
  TextInput input;
  input.text = text;
  input.name = "toy.txt";
  input.joined = &join("none");
  return input;
}

std::string some_text(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + i * i % 23);
  return text;
}

/// Counts windows and asks to stop after some of them.
class StopAfter : public Progress {
 public:
  explicit StopAfter(std::uint64_t windows) : windows_(windows) {}
  void update(std::uint64_t done, std::uint64_t total, std::string_view what) override {
    done_ = done;
    total_ = total;
    what_ = what;
  }
  bool cancelled() const override { return done_ >= windows_; }
  std::uint64_t windows_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  std::string what_;
};

struct Moments {
  double mean = 0;
  double error = 0;
};
/// Mean and its standard error as evaluation.md 2.3 writes them.
Moments moments(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double v : values) sum += v, squares += v * v;
  const auto n = static_cast<double>(values.size());
  return {sum / n, std::sqrt((squares / n - sum / n * (sum / n)) / (n - 1))};
}

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

/// For the messages of parameterized tests.
void PrintTo(const Protocol& protocol, std::ostream* out) { *out << protocol.name; }

}  // namespace tender::eval
