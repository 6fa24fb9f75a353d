#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "eval/evaluated_model.h"
#include "eval/perplexity.h"
#include "eval/running_mean.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace tender::eval {

/// Values at fractions of a sorted list, interpolated linearly at fraction * (n - 1).
struct Percentile {
  double fraction = 0;  ///< 0 is the least, 1 the largest
  double value = 0;
};

/// How a model Q agrees with its base P at the same positions of the same tokens (evaluation.md
/// 3.1). Names are those of llama.cpp's perplexity --kl-divergence. Every ± is what the protocol
/// states: the standard error of a mean over tokens, or over means of windows; what follows from
/// means has it by the delta method.
struct Agreement {
  Estimate cross_entropy;  ///< mean of -ln Q(x), nats
  Estimate perplexity;
  /// Mean over the same positions of ln P(x) - ln Q(x): ln of the perplexities' ratio. Its error is
  /// paired: that of the mean of the differences, not of the difference of two means.
  Estimate cross_entropy_difference;
  Estimate perplexity_ratio;
  Estimate perplexity_difference;
  Estimate excess_percent;              ///< 100 (ratio - 1)
  std::optional<double> correlation;    ///< of ln perplexity; nothing where one of both is constant
  Estimate divergence;                  ///< mean KL(P || Q), nats
  std::vector<Percentile> divergences;  ///< empty below 100 positions
  Estimate same_top;                    ///< share of positions with the same most probable token
  Estimate change;                      ///< mean of Q(x) - P(x), x the true token
  Estimate rms_change;                  ///< root of the mean of its square
  std::vector<Percentile> changes;      ///< empty below 100 positions
};

struct ComparisonResult {
  Estimate base_cross_entropy;
  Estimate base_perplexity;
  std::vector<Agreement> models;
  std::size_t scored_tokens = 0;
  std::size_t windows = 0;
  double seconds = 0;
  bool partial = false;      ///< as in PerplexityResult
  bool interrupted = false;  ///< likewise
};

/// What errors name the base by, as their item (LOGITS_NAN).
inline constexpr std::string_view kTheBase = "the base";

/// A model and what people call it.
struct NamedModel {
  std::string name;
  EvaluatedModel* model = nullptr;
};

struct NamedTokenizer {
  std::string name;
  const text::Tokenizer* tokenizer = nullptr;
};

/// The plan of plan_perplexity() with the base's tokenizer, which all others must equal: token by
/// token, in what they add, and in the ids that they give to this text.
/// @param tokenizers  the base's first
/// @throws Error as plan_perplexity; invalid_input (COMPARE_TOKENIZER) saying what differs first
PerplexityPlan plan_comparison(const TextInput& input, std::span<const NamedTokenizer> tokenizers,
                               const PerplexityOptions& options);

/// Evaluates the windows of a plan with all models in lockstep, some windows at a time. Logits of
/// two models exist at once, for a slice of rows of some 16 MB each. Numbers do not depend on
/// threads or CPU, and perplexities are the bits that run_perplexity() gives.
/// @throws Error as run_perplexity; invalid_input (COMPARE_VOCABULARY) where the models' logits are
/// not of the same tokens
ComparisonResult run_comparison(const NamedModel& base, std::span<const NamedModel> models,
                                const PerplexityPlan& plan, ThreadPool& pool, Progress& progress);

/// What was measured of one model. An Estimate is {"value", "error"}, percentiles {"0.5": …}.
OrderedJson to_json(const Agreement& agreement);
/// Protocol, text, windows, and the base's values; `models` and facts are added by who knows them.
OrderedJson to_json(const PerplexityPlan& plan, const ComparisonResult& result);

}  // namespace tender::eval
