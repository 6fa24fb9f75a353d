// Perplexity of a whole model, against the textbook on all of its logits.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "eval/compare.h"
#include "eval/model_facts.h"
#include "eval/perplexity.h"
#include "eval/speed.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::eval {
namespace {

class TinyModelTest : public ::testing::Test {
 protected:
  void load(const testing::TinyModel& options, Isa isa = host_isa()) {
    testing::write_tiny_model(folder_ / "tiny", options);
    testing::write_text(folder_ / "text.txt", testing::tiny_text(1500) + "\n");
    const auto checkpoint = io::open_checkpoint(folder_ / "tiny");
    tokenizer_ = text::open_tokenizer(*checkpoint);
    model_ = model::load_model(*checkpoint, isa, pool_, silent_);
  }

  PerplexityPlan plan(const Protocol& protocol, std::size_t seqlen) {
    const TextInput input = read_text(folder_ / "text.txt", std::nullopt, protocol.known_join,
                                      compress::InvalidText::refuse, silent_);
    return plan_perplexity(input, *tokenizer_, {.protocol = &protocol, .seqlen = seqlen});
  }

  /// -ln P of every token but the first of a window.
  std::vector<double> losses(const std::vector<text::TokenId>& window) {
    const auto sequence = model_->sequence(window.size());
    Matrix hidden;
    const model::BatchItem item{sequence.get(), window, 0};
    model_->forward({&item, 1}, hidden, pool_);
    Matrix logits(window.size(), model_->info().vocabulary);
    model_->logits(hidden.view(), logits.view(), pool_);
    std::vector<double> values;
    for (std::size_t t = 0; t + 1 < window.size(); ++t) {
      double sum = 0;
      for (const float logit : logits.row(t)) sum += std::exp(static_cast<double>(logit));
      values.push_back(std::log(sum) -
                       static_cast<double>(logits(t, static_cast<std::size_t>(window[t + 1]))));
    }
    return values;
  }

  testing::TemporaryFolder folder_;
  ThreadPool pool_{2};
  Progress silent_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<model::Model> model_;
};

TEST_F(TinyModelTest, PerplexityIsThatOfTheModelsOwnLogits) {
  for (const bool adds_bos : {false, true}) {
    load({.adds_bos = adds_bos});
    for (const Protocol& protocol : all_protocols()) {
      const auto cut = plan(protocol, 100);
      EXPECT_EQ(cut.tokens.front() == static_cast<text::TokenId>(testing::kTinyVocabulary - 2),
                adds_bos);
      double total = 0;
      std::size_t count = 0;
      for (std::size_t w = 0; w < cut.windows; ++w) {
        const auto values = losses(cut.window(w));
        for (std::size_t t = protocol.first_scored(100); t < values.size(); ++t)
          total += values[t], ++count;
      }
      const auto result = run_perplexity(*model_, cut, pool_, silent_);
      EXPECT_EQ(result.scored_tokens, count);
      EXPECT_GT(result.windows, 5U);
      // windows are of equal length, so the mean of means is the mean; logits are the same bits,
      // sums of 274 exponentials and some 1000 losses are off by less than 1e-12
      const double expected = std::exp(total / static_cast<double>(count));
      EXPECT_NEAR(result.perplexity, expected, expected * 1e-11) << protocol.name;
    }
  }
}

TEST_F(TinyModelTest, PerplexityHasTheSameBitsOnEveryInstructionSet) {
  load({}, Isa::scalar);
  const auto cut = plan(protocol("gptq"), 64);
  const auto scalar = run_perplexity(*model_, cut, pool_, silent_);
  load({}, host_isa());
  EXPECT_EQ(run_perplexity(*model_, cut, pool_, silent_).perplexity, scalar.perplexity);
}

TEST_F(TinyModelTest, TheDivergenceOfTwoModelsIsThatOfTheirOwnLogits) {
  load({.dtype = "BF16"});
  const auto other = std::move(model_);
  load({});
  const auto cut = plan(protocol("llama.cpp"), 100);
  const std::size_t first = cut.protocol->first_scored(cut.seqlen);
  const auto log_probabilities = [&](const model::Model& model, std::size_t window) {
    const auto tokens = cut.window(window);
    const auto sequence = model.sequence(tokens.size());
    Matrix hidden;
    const model::BatchItem item{sequence.get(), tokens, first};
    model.forward({&item, 1}, hidden, pool_);
    Matrix logits(hidden.rows(), model.info().vocabulary);
    model.logits(hidden.view(), logits.view(), pool_);
    MatrixOf<double> logs(hidden.rows() - 1, logits.cols());  // the last predicts nothing
    for (std::size_t r = 0; r < logs.rows(); ++r) {
      double sum = 0;
      for (const float logit : logits.row(r)) sum += std::exp(static_cast<double>(logit));
      for (std::size_t v = 0; v < logs.cols(); ++v)
        logs(r, v) = static_cast<double>(logits(r, v)) - std::log(sum);
    }
    return logs;
  };
  double total = 0;
  std::size_t count = 0;
  for (std::size_t w = 0; w < cut.windows; ++w) {
    const auto base = log_probabilities(*model_, w);
    const auto found = log_probabilities(*other, w);
    count += base.rows();
    for (std::size_t r = 0; r < base.rows(); ++r)
      for (std::size_t v = 0; v < base.cols(); ++v)
        total += std::exp(base(r, v)) * (base(r, v) - found(r, v));
  }
  const auto evaluated = evaluate_whole(*other);
  const std::vector<NamedModel> models = {{"bf16", evaluated.get()}};
  const auto result =
      run_comparison({"f32", evaluate_whole(*model_).get()}, models, cut, pool_, silent_);
  EXPECT_EQ(result.scored_tokens, count);
  EXPECT_GT(result.models[0].divergence.value, 1e-7) << "rounding weights to 8 bits shows";
  // log-probabilities near 6 and sums of 274 terms: rounding stays below 1e-13 per position
  EXPECT_NEAR(result.models[0].divergence.value, total / static_cast<double>(count), 1e-13);
}

TEST_F(TinyModelTest, ASizeCountsWhatTheCheckpointStores) {
  load({.dtype = "BF16"});
  const ModelSize size = size_of(*io::open_checkpoint(folder_ / "tiny"), facts_of(*model_));
  EXPECT_EQ(size.bits_per_weight, 16.0);
  EXPECT_EQ(size.bits_per_activation, 32.0);
  EXPECT_GT(size.bits_per_weight_model, 16.0) << "vectors are in F32";
  EXPECT_LT(size.bits_per_weight_model, 17.0);
  EXPECT_GT(size.file_bytes, std::filesystem::file_size(folder_ / "tiny" / "model.safetensors"));
}

TEST_F(TinyModelTest, SpeedIsMeasuredAsOftenAsAsked) {
  load({});
  const SpeedOptions options{.prompt = 20, .generated = 3, .repetitions = 4};
  const auto speed = [&](const SpeedOptions& of) {
    const auto subject = subject_of(*model_, of, pool_);
    SpeedSubject* const subjects[] = {subject.get()};
    return measure_speed(subjects, model_->info().vocabulary, of, silent_, [] {}).front();
  };
  const auto result = speed(options);
  EXPECT_EQ(result.prefill.values.size(), 4U);
  EXPECT_EQ(result.decode.values.size(), 4U);
  const OrderedJson json = to_json(options, result);
  for (const std::string rate : {"prefill_tokens_per_second", "decode_tokens_per_second"}) {
    EXPECT_GT(json[rate + "_min"], 0.0);
    EXPECT_LE(json[rate + "_min"], json[rate]);
    EXPECT_LE(json[rate], json[rate + "_max"]);
  }
  const auto only = speed({.prompt = 0, .generated = 2, .repetitions = 1});
  EXPECT_TRUE(only.prefill.values.empty());
  EXPECT_TRUE(to_json({}, only)["prefill_tokens_per_second"].is_null());
}

/// Notes what it was asked, and takes as long as it is told.
class FakeSubject : public SpeedSubject {
 public:
  FakeSubject(double seconds, std::string name, std::string& log)
      : seconds_(seconds), name_(std::move(name)), log_(log) {}
  double prefill(std::span<const model::TokenId> prompt) override {
    prompts.emplace_back(prompt.begin(), prompt.end());
    log_ += name_ + "p ";
    return seconds_ * static_cast<double>(prompts.size());
  }
  double decode(model::TokenId, std::size_t) override {
    log_ += name_ + "d ";
    return seconds_;
  }
  std::vector<std::vector<model::TokenId>> prompts;

 private:
  double seconds_;
  std::string name_;
  std::string& log_;
};

TEST(MeasureSpeed, TakesTurnsWithFreshPromptsAndRatiosAreRunByRun) {
  std::string log;
  FakeSubject a(1, "a", log), b(2, "b", log);
  SpeedSubject* const subjects[] = {&a, &b};
  Progress silent;
  const SpeedOptions options{.prompt = 8, .generated = 4, .repetitions = 2};
  const auto results = measure_speed(subjects, 1000, options, silent, [&] { log += "| "; });
  EXPECT_EQ(log, "ap ad bp bd | ap ad bp bd ap ad bp bd ");
  EXPECT_EQ(results[0].prefill.values, (std::vector<double>{8.0 / 2, 8.0 / 3}));
  EXPECT_EQ(results[1].prefill.values, (std::vector<double>{8.0 / 4, 8.0 / 6}));
  EXPECT_EQ(ratios(results[0].prefill, results[1].prefill).values, (std::vector<double>{2, 2}));
  EXPECT_EQ(ratios(results[0].decode, results[1].decode).values, (std::vector<double>{2, 2}));
  EXPECT_NE(a.prompts[0], a.prompts[1]);
  EXPECT_NE(a.prompts[1], b.prompts[1]);
}

TEST_F(TinyModelTest, FactsNameMethodAndKernelsByKindOfSite) {
  load({});
  OrderedJson json = OrderedJson::object();
  add_facts(facts_of(*model_), "tiny", pool_, json);
  EXPECT_EQ(json["method"], "float");
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["model"]["name"], "tiny");
  EXPECT_EQ(json["kernels"].size(), 4U) << "qkv, o, gate and up, down, whatever the layer";
  for (const auto& kernel : json["kernels"].items())
    EXPECT_EQ(kernel.key().find('0'), std::string::npos);
}

TEST(RatesTest, TheMedianOfAnEvenNumberIsTheMeanOfTheMiddleTwo) {
  EXPECT_EQ((Rates{{4, 1, 3, 2}}.median()), 2.5);
  EXPECT_EQ((Rates{{9, 1, 5}}.median()), 5);
}

}  // namespace
}  // namespace tender::eval
