#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

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

struct SpeedResult {
  Rates prefill;  ///< empty if it was left out
  Rates decode;
};

/// @throws Error invalid_argument (BENCH_OPTIONS)
void validate(const SpeedOptions& options);

/// Times prefill of a random prompt (with the logits of its last token) and, each time from an
/// empty context and one token, greedy decoding. Both from the caller's view, logits included.
/// @throws Error invalid_argument (CONTEXT), io (CANCELLED)
SpeedResult measure_speed(const model::Model& model, const SpeedOptions& options, ThreadPool& pool,
                          Progress& progress);

/// `prefill_tokens_per_second` and `decode_tokens_per_second` (medians; null if left out), each
/// with `_min` and
/// `_max`, and the options.
OrderedJson to_json(const SpeedOptions& options, const SpeedResult& result);

}  // namespace tender::eval
