#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/json.h"
#include "cli/command.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "model/sampler.h"
#include "text/tokenizer.h"

namespace tender::cli {

/// What `generate` and `chat` have in common on the command line.
struct GenerationOptions {
  model::RunOptions run;
  model::SamplerOptions sampler;
  std::optional<std::size_t> most_tokens;  ///< of one answer
  std::optional<std::size_t> context;      ///< prompt and answer together
  std::vector<std::string> stops;
  bool ignore_end = false;  ///< go on after an end-of-text token
};

/// Declares them; `most_tokens_help` tells the default of -n.
void declare_generation(CLI::App& app, GenerationOptions& options,
                        const std::string& most_tokens_help, const std::string& context_help);

enum class Finish : std::uint8_t {
  end_of_text,
  stop_string,
  length,       ///< as many tokens as were asked for
  context,      ///< no room for a further token
  interrupted,  ///< by the user
};

/// The name of a reason in JSON: "stop" (end_of_text and stop_string), "length", "context",
/// "interrupted".
std::string_view finish_name(Finish finish);

struct Generation {
  std::string text;  ///< what was shown: UTF-8, without stop string and special tokens
  std::vector<text::TokenId> ids;  ///< all generated ids, an end-of-text id included
  std::size_t prompt_tokens = 0;
  std::size_t reused_tokens = 0;  ///< of the prompt, found in the cache of the turn before
  double prefill_seconds = 0;     ///< until the first token was known
  double decode_seconds = 0;      ///< of the tokens after the first
  Finish finish = Finish::length;

  std::size_t decoded() const { return ids.empty() ? 0 : ids.size() - 1; }
  /// Nothing where only one token was generated.
  std::optional<double> decode_tokens_per_second() const;
};

/// Methods whose rows depend on the other rows of a pass would give other texts in decode than in
/// prefill. @throws Error unsupported (METHOD_EVAL_ONLY)
void refuse_evaluation_methods(const model::Model& model);

/// A loaded model with its tokenizer and one sequence.
class Generator {
 public:
  /// @throws Error as open_checkpoint, open_tokenizer and load_model; unsupported METHOD_EVAL_ONLY
  /// for a method whose rows depend on their neighbours
  Generator(const std::string& path, const model::RunOptions& run, Context& context);

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  const model::ModelInfo& info() const { return model_->info(); }
  /// How its weights are multiplied, as eval::weights_of() says it.
  const std::string& weights() const { return weights_; }
  /// What calibrated ranges have met so far (eval::counts_of()).
  OrderedJson counts() const;
  double load_seconds() const { return load_seconds_; }
  std::size_t context_tokens() const { return sequence_ == nullptr ? 0 : sequence_->capacity(); }
  /// Bytes that the keys and values may take.
  std::size_t cache_bytes() const { return sequence_ == nullptr ? 0 : sequence_->bytes(); }

  /// Makes room for so many tokens; forgets what was there.
  void reserve(std::size_t context);

  /// Reads the prompt, of which the part that the sequence holds already is not computed again, and
  /// generates. @param show  gets the text as it comes, cut between characters
  /// @throws Error invalid_input CONTEXT_FULL where the prompt does not fit, PROMPT_EMPTY,
  /// LOGITS_NAN
  Generation run(std::span<const text::TokenId> prompt, const GenerationOptions& options,
                 FunctionRef<void(std::string_view)> show);

 private:
  void prefill(std::span<const text::TokenId> prompt, Generation& result);
  void feed(std::span<const text::TokenId> tokens);
  bool ends_text(text::TokenId id) const;

  Context& context_;
  std::unique_ptr<io::Checkpoint> checkpoint_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<model::Sequence> sequence_;
  std::vector<text::TokenId> held_;    ///< the tokens that the sequence holds
  std::vector<std::uint8_t> allowed_;  ///< [vocabulary of the model]
  Matrix hidden_;
  Matrix logits_;
  std::string weights_;
  double load_seconds_ = 0;
};

/// One line for people: tokens, speeds, memory, why it ended.
std::string statistics_line(const Generation& result, const Generator& generator);

/// What both commands tell of a generation in JSON.
OrderedJson generation_json(const Generation& result);

}  // namespace tender::cli
