#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "model/model.h"

namespace tender::eval {

struct SpeedOptions {
  std::size_t prompt = 512;     ///< tokens of the prompt; 0 leaves prefill out
  std::size_t generated = 64;   ///< tokens decoded one by one; 0 leaves decoding out
  std::size_t repetitions = 5;  ///< after one run that is not counted
  std::uint64_t seed = 1;       ///< of the random prompt
};

/// Rates of all repetitions in tokens per second.
struct Rates {
  std::vector<double> values;
  double median() const;
  double least() const;
  double most() const;
};
/// `name` (the median; null if there are none), `name_min`, `name_max`.
void add_rates(OrderedJson& json, const std::string& name, const Rates& rates);

struct SpeedResult {
  Rates prefill;  ///< empty if it was left out
  Rates decode;
};

/// @throws Error invalid_argument (BENCH_OPTIONS)
void validate(const SpeedOptions& options);

/// What reads prompts and decodes: a model of ours, another engine.
class SpeedSubject {
 public:
  virtual ~SpeedSubject() = default;
  /// Seconds from an empty context to the logits after the last token.
  virtual double prefill(std::span<const model::TokenId> prompt) = 0;
  /// Seconds from an empty context for so many tokens after `first`, one by one, with the logits of
  /// each.
  virtual double decode(model::TokenId first, std::size_t tokens) = 0;
};

/// A model of ours; it decodes what is likeliest. Outlived by its model and pool.
/// @throws Error invalid_argument (CONTEXT)
std::unique_ptr<SpeedSubject> subject_of(const model::Model& model, const SpeedOptions& options,
                                         ThreadPool& pool);

/// Times all subjects in turn, again and again: prefill of a random prompt, a new one each time
/// (caches answer what they have seen), then decoding. The first round warms up.
/// @param vocabulary  tokens are below it
/// @param warmed      called between the warm-up and the runs that count
/// @return a result for each subject; values of the same index were taken one after the other
/// @throws Error io (CANCELLED), and those of the subjects
std::vector<SpeedResult> measure_speed(std::span<SpeedSubject* const> subjects,
                                       std::size_t vocabulary, const SpeedOptions& options,
                                       Progress& progress, FunctionRef<void()> warmed);

/// How much faster the first is, run by run. Empty where one of both was left out.
Rates ratios(const Rates& first, const Rates& second);

/// `prefill_tokens_per_second` and `decode_tokens_per_second` (medians; null if left out), each
/// with `_min` and
/// `_max`, and the options.
OrderedJson to_json(const SpeedOptions& options, const SpeedResult& result);

}  // namespace tender::eval
