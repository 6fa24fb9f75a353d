#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"

namespace tender::model {

using TokenId = std::int32_t;

/// How the next token is chosen. What the options do is applied in this order:
///
///     1. ids that are not allowed are left out
///     2. repetition penalty: the logit of each id that was seen is divided by it where positive,
///        multiplied where negative, once however often the id was seen (Keskar et al. 2019,
///        section 4.1, as Hugging Face has it)
///     3. temperature 0 takes the greatest logit, the lowest id among equals: the rest has no
///     effect;
///        otherwise weight = exp(logit / temperature)
///     4. top_k: the so many heaviest; among equals the lower ids
///     5. top_p: the fewest heaviest that hold this share of the weight left by 4
///     6. min_p: those at least this share as heavy as the heaviest
///     7. a draw in proportion to weight, by one random number a token
struct SamplerOptions {
  double temperature = 0;           ///< 0 is greedy; at least 0
  std::size_t top_k = 0;            ///< 0 is off
  double top_p = 1;                 ///< in [0, 1]; 0 keeps the heaviest only, 1 is off
  double min_p = 0;                 ///< in [0, 1]; 0 is off
  double repetition_penalty = 1;    ///< above 0; 1 is off
  std::size_t repetition_last = 0;  ///< how many of the last tokens count as seen; 0 for all
  std::uint64_t seed = 0;
};

/// @throws Error invalid_argument OPTION_RANGE, with the option's name
void validate(const SamplerOptions& options);

/// Chooses tokens. The same options and logits give the same tokens on every machine: weights and
/// sums are double in fixed operations, and the vocabulary is never sorted as a whole.
class Sampler {
 public:
  struct Candidate {
    TokenId id;
    double weight;  ///< of the heaviest: 1
  };

  /// @throws Error as validate()
  explicit Sampler(const SamplerOptions& options);

  /// @param logits   [vocabulary]
  /// @param seen     prompt and generated tokens, for the repetition penalty
  /// @param allowed  [vocabulary], 0 for ids that may not come (holes, padded rows); empty for all
  /// @throws Error invalid_input LOGITS_NAN where an allowed logit is NaN or +infinity, or none is
  /// finite
  TokenId sample(std::span<const float> logits, std::span<const TokenId> seen,
                 std::span<const std::uint8_t> allowed = {});

  /// What sample() draws from, steps 1 to 6 above, for a temperature above 0. Valid until the next
  /// call.
  std::span<const Candidate> candidates(std::span<const float> logits,
                                        std::span<const TokenId> seen,
                                        std::span<const std::uint8_t> allowed = {});

 private:
  void read(std::span<const float> logits, std::span<const TokenId> seen,
            std::span<const std::uint8_t> allowed);
  void keep_top_k();
  void keep_top_p();

  SamplerOptions options_;
  Rng rng_;
  std::vector<double>
      logits_;  ///< [vocabulary], steps 1 and 2 done; -infinity for what is left out
  std::vector<std::uint8_t> penalized_;  ///< [vocabulary]
  std::vector<TokenId> order_;
  std::vector<Candidate> candidates_;
  double best_ = 0;
};

}  // namespace tender::model
