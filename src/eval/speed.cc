#include "eval/speed.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/contracts.h"
#include "base/error.h"
#include "base/rng.h"

namespace tender::eval {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMost = std::size_t{1} << 20U;
constexpr std::size_t kPrefillBatch =
    512;  // tokens of one pass, so that long prompts need no more memory

/// A sequence and the buffers of a run.
class Runner : public SpeedSubject {
 public:
  Runner(const model::Model& model, std::size_t context, ThreadPool& pool)
      : model_(model),
        pool_(pool),
        sequence_(model.sequence(context)),
        logits_(1, model.info().vocabulary) {}

  double prefill(std::span<const model::TokenId> prompt) override {
    const auto start = Clock::now();
    sequence_->truncate(0);
    for (std::size_t begin = 0; begin < prompt.size(); begin += kPrefillBatch)
      feed(prompt.subspan(begin, std::min(kPrefillBatch, prompt.size() - begin)));
    model_.logits(hidden_.view(), logits_.view(), pool_);
    return since(start);
  }

  double decode(model::TokenId first, std::size_t tokens) override {
    sequence_->truncate(0);
    model::TokenId token = first;
    const auto start = Clock::now();
    for (std::size_t i = 0; i < tokens; ++i) {
      feed({&token, 1});
      model_.logits(hidden_.view(), logits_.view(), pool_);
      const auto row = logits_.row(0);
      token = static_cast<model::TokenId>(std::ranges::max_element(row) - row.begin());
    }
    return since(start);
  }

 private:
  void feed(std::span<const model::TokenId> tokens) {
    const model::BatchItem item{sequence_.get(), tokens, tokens.size() - 1};
    model_.forward({&item, 1}, hidden_, pool_);
  }
  static double since(Clock::time_point start) {
    return std::max(1e-9, std::chrono::duration<double>(Clock::now() - start).count());
  }

  const model::Model& model_;
  ThreadPool& pool_;
  std::unique_ptr<model::Sequence> sequence_;
  Matrix hidden_;
  Matrix logits_;
};

}  // namespace

void add_rates(OrderedJson& json, const std::string& name, const Rates& rates) {
  const bool any = !rates.values.empty();
  json[name] = any ? OrderedJson(rates.median()) : OrderedJson();
  json[name + "_min"] = any ? OrderedJson(rates.least()) : OrderedJson();
  json[name + "_max"] = any ? OrderedJson(rates.most()) : OrderedJson();
}

double Rates::median() const {
  require(!values.empty(), "a rate was measured");
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
double Rates::least() const { return std::ranges::min(values); }
double Rates::most() const { return std::ranges::max(values); }

void validate(const SpeedOptions& options) {
  if (options.repetitions < 1 || options.repetitions > kMost || options.prompt > kMost ||
      options.generated > kMost || options.prompt + options.generated == 0)
    fail(ErrorKind::invalid_argument, {.code = "BENCH_OPTIONS", .item = "-p, -n, -r"},
         "prompt {}, generated {}, repetitions {}: expected up to {} tokens, at least one in all, "
         "and one repetition",
         options.prompt, options.generated, options.repetitions, kMost);
}

std::unique_ptr<SpeedSubject> subject_of(const model::Model& model, const SpeedOptions& options,
                                         ThreadPool& pool) {
  const std::size_t context = std::max({std::size_t{1}, options.prompt, options.generated});
  return std::make_unique<Runner>(model, context, pool);
}

std::vector<SpeedResult> measure_speed(std::span<SpeedSubject* const> subjects,
                                       std::size_t vocabulary, const SpeedOptions& options,
                                       Progress& progress, FunctionRef<void()> warmed) {
  validate(options);
  Rng rng(options.seed, "bench prompt");
  const auto draw = [&] { return static_cast<model::TokenId>(rng.below(vocabulary)); };
  std::vector<SpeedResult> results(subjects.size());
  for (std::size_t run = 0; run <= options.repetitions; ++run) {  // the first one warms up
    std::vector<model::TokenId> prompt(options.prompt);
    for (std::size_t s = 0; s < subjects.size(); ++s) {
      if (progress.cancelled()) fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled");
      std::ranges::generate(prompt, draw);
      const double prefill = options.prompt > 0 ? subjects[s]->prefill(prompt) : 0;
      const double decode =
          options.generated > 0 ? subjects[s]->decode(draw(), options.generated) : 0;
      if (run == 0) continue;
      if (options.prompt > 0)
        results[s].prefill.values.push_back(static_cast<double>(options.prompt) / prefill);
      if (options.generated > 0)
        results[s].decode.values.push_back(static_cast<double>(options.generated) / decode);
    }
    if (run == 0) warmed();
    progress.update(run + 1, options.repetitions + 1, run == 0 ? "warm-up" : "measuring");
  }
  return results;
}

Rates ratios(const Rates& first, const Rates& second) {
  Rates result;
  for (std::size_t i = 0; i < std::min(first.values.size(), second.values.size()); ++i)
    result.values.push_back(first.values[i] / second.values[i]);
  return result;
}

OrderedJson to_json(const SpeedOptions& options, const SpeedResult& result) {
  OrderedJson json = OrderedJson::object();
  add_rates(json, "prefill_tokens_per_second", result.prefill);
  add_rates(json, "decode_tokens_per_second", result.decode);
  json["prompt_tokens"] = options.prompt;
  json["generated_tokens"] = options.generated;
  json["repetitions"] = options.repetitions;
  json["seed"] = options.seed;
  return json;
}

}  // namespace tender::eval
