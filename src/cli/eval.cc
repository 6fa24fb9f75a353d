#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "cli/command.h"
#include "compress/source_name.h"
#include "eval/model_facts.h"
#include "eval/perplexity.h"
#include "eval/text_input.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

/// "one (what it is); other (what it is)" for help.
template <class List>
std::string described(std::string text, const List& list) {
  for (const auto& each : list) text += fmt::format(" {} ({});", each.name, each.summary);
  text.pop_back();
  return text;
}

class Eval : public Command {
 public:
  std::string_view name() const override { return "eval"; }
  std::string_view summary() const override { return "Measure how well a model predicts"; }

  void declare(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App& perplexity =
        *app.add_subcommand("perplexity", "Perplexity of a text by a named protocol");
    perplexity.fallthrough();
    perplexity.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    perplexity.add_option("--text", text_, "File to evaluate, UTF-8")->required();
    perplexity
        .add_option("--protocol", protocol_,
                    described("What makes numbers comparable:", eval::all_protocols()))
        ->capture_default_str();
    perplexity.add_option(
        "--join", join_,
        described("How rows of the file become the text:", eval::all_joins()) +
            "; default none, but what papers do where the file is WikiText-2's wiki.test.raw");
    perplexity.add_option("--seqlen", seqlen_, "Tokens of a window (default: the protocol's)");
    perplexity.add_option("--limit", limit_, "Evaluate only so many windows");
    perplexity.add_flag("--replace-invalid", replace_invalid_,
                        "Read bytes that are not UTF-8 as U+FFFD");
    perplexity.footer(
        "Example: tender eval perplexity model.gguf --text wiki.test.raw --protocol llama.cpp");
  }

  void run(Context& context) override {
    const eval::PerplexityOptions options{
        .protocol = &eval::protocol(protocol_), .seqlen = seqlen_, .limit = limit_};
    eval::validate(options);
    if (join_) eval::join(*join_);
    const InterruptGuard guard;
    const auto checkpoint = io::open_checkpoint(model_);
    const eval::PerplexityPlan plan = make_plan(*checkpoint, options, context.progress());
    const auto model =
        model::load_model(*checkpoint, host_isa(), context.pool(), context.progress());
    const eval::PerplexityResult result =
        eval::run_perplexity(*model, plan, context.pool(), context.progress());
    context.end_progress();
    context.print(sentence(plan, result));
    OrderedJson json = eval::to_json(plan, result);
    eval::add_facts(*model, compress::source_name(*checkpoint), context.pool(), json);
    context.emit(json);
    if (result.interrupted) context.mark_failed();
  }

 private:
  /// Text and tokens come before the weights, so that a wrong text is told at once.
  eval::PerplexityPlan make_plan(const io::Checkpoint& checkpoint,
                                 const eval::PerplexityOptions& options, Progress& progress) const {
    const eval::TextInput input = eval::read_text(
        text_, join_, options.protocol->known_join,
        replace_invalid_ ? compress::InvalidText::replace : compress::InvalidText::refuse,
        progress);
    return eval::plan_perplexity(input, *text::open_tokenizer(checkpoint), options);
  }

  static std::string sentence(const eval::PerplexityPlan& plan,
                              const eval::PerplexityResult& result) {
    const std::string error =
        result.standard_error ? fmt::format(" ± {:.4f}", *result.standard_error) : std::string();
    return fmt::format(
        "perplexity {:.4f}{}\nprotocol {}, {} of {} windows of {} tokens, {} tokens scored, join "
        "{}{}\n",
        result.perplexity, error, plan.protocol->name, result.windows, plan.available_windows,
        plan.seqlen, result.scored_tokens, plan.join,
        result.interrupted ? "; INTERRUPTED: the value is that of the windows before" : "");
  }

  std::string model_;
  std::string text_;
  std::string protocol_ = std::string(eval::all_protocols().front().name);
  std::optional<std::string> join_;
  std::optional<std::size_t> seqlen_;
  std::optional<std::size_t> limit_;
  bool replace_invalid_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval() { return std::make_unique<Eval>(); }

}  // namespace tender::cli
