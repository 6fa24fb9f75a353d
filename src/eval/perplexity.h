#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "eval/text_input.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace tender::eval {

class EvaluatedModel;

/// What makes two perplexities comparable (evaluation.md 2). Windows are cut from one token stream
/// without overlap, the tail is dropped, and each is evaluated alone.
struct Protocol {
  std::string_view name;     ///< of --protocol
  std::string_view summary;  ///< one sentence for help
  std::size_t seqlen;        ///< default length of a window
  std::size_t least_seqlen;  ///< so that a window scores a token
  std::size_t least_windows;
  std::string_view known_join;  ///< --join for a text that is published as rows
  bool drops_final_newline;     ///< one, before tokenizing
  bool parses_special;          ///< special tokens written in the text become their ids
  bool bos_in_each_window;  ///< the first token of a window is replaced where the model adds BOS
  bool refuses_eos;         ///< a tokenizer that adds EOS is refused
  bool means_of_windows;    ///< the uncertainty is that of the window means, else of the tokens
  std::size_t (*first_scored)(
      std::size_t seqlen);  ///< predictions at first … seqlen - 2 are scored
};

/// The default stands first.
std::span<const Protocol> all_protocols();
/// @throws Error invalid_argument (PROTOCOL_UNKNOWN), naming those that exist
const Protocol& protocol(std::string_view name);

struct PerplexityOptions {
  const Protocol* protocol = &all_protocols().front();
  std::optional<std::size_t> seqlen{};  ///< nothing: the protocol's
  std::optional<std::size_t> limit{};   ///< most windows that are evaluated, at least 1
};

/// A text that was tokenized and cut, ready for any model of that tokenizer.
struct PerplexityPlan {
  const Protocol* protocol = nullptr;
  std::string text_name;
  std::string text_sha256;  ///< of what was tokenized
  std::string join;
  std::vector<text::TokenId> tokens;  ///< with BOS, if the tokenizer adds one
  std::optional<text::TokenId> bos;   ///< put in front of each window
  std::size_t seqlen = 0;
  std::size_t windows = 0;            ///< to evaluate
  std::size_t available_windows = 0;  ///< in the text

  /// The tokens of a window as the model sees them.
  std::vector<text::TokenId> window(std::size_t index) const;
};

/// @throws Error invalid_argument (SEQLEN, LIMIT); before any text is read
void validate(const PerplexityOptions& options);
/// @throws Error invalid_input (TXT_TOO_SHORT; PROTOCOL_EOS)
PerplexityPlan plan_perplexity(const TextInput& input, const text::Tokenizer& tokenizer,
                               const PerplexityOptions& options);

struct PerplexityResult {
  double perplexity = 0;
  /// Perplexity times the standard error of the mean of the scored values (tokens, or means of
  /// windows); nothing where there is only one.
  std::optional<double> standard_error;
  std::vector<double> cross_entropies;  ///< mean of each window, in nats
  std::size_t scored_tokens = 0;
  std::size_t windows = 0;
  double seconds = 0;
  bool partial = false;  ///< not all windows of the text entered, because of the limit or the user
  bool interrupted = false;  ///< ended by the user; the value is that of the windows before
};

/// Evaluates the windows of a plan. Numbers do not depend on threads or CPU; logits are made in
/// slices of rows and never take more than some 16 MB.
/// @throws Error invalid_argument (CONTEXT, TOKEN_ID), invalid_input (CANCELLED before the first
/// window ended)
PerplexityResult run_perplexity(EvaluatedModel& model, const PerplexityPlan& plan, ThreadPool& pool,
                                Progress& progress);
/// Of a model that is in memory.
PerplexityResult run_perplexity(const model::Model& model, const PerplexityPlan& plan,
                                ThreadPool& pool, Progress& progress);

/// The keys that belong to text and protocol.
OrderedJson to_json(const PerplexityPlan& plan);
/// Those and what belongs to the value; version, model and machine are added by who knows
/// them.
OrderedJson to_json(const PerplexityPlan& plan, const PerplexityResult& result);

}  // namespace tender::eval
