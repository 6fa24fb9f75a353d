#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "base/cpu.h"
#include "cli/command.h"
#include "cli/eval_compare.h"
#include "cli/eval_text.h"
#include "cli/run_options.h"
#include "compress/source_name.h"
#include "eval/evaluated_model.h"
#include "eval/model_facts.h"
#include "eval/perplexity.h"
#include "io/checkpoint.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

/// `tender eval perplexity MODEL --text FILE`.
class EvalPerplexity {
 public:
  void declare(CLI::App& app) {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    text_.declare(app);
    memory_.declare(app);
    declare_run_options(app, run_);
    app.footer(
        "Example: tender eval perplexity model.gguf --text wiki.test.raw --protocol llama.cpp");
  }

  /// Text and tokens come before the weights, so that a wrong text is told at once.
  void run(Context& context) const {
    const eval::PerplexityOptions options = text_.validated();
    model::validate(run_);
    const InterruptGuard guard;
    const auto checkpoint = io::open_checkpoint(model_);
    const eval::PerplexityPlan plan = eval::plan_perplexity(
        text_.read(options, context.progress()), *text::open_tokenizer(*checkpoint), options);
    const io::Checkpoint* const one[] = {checkpoint.get()};
    const auto model =
        std::move(eval::open_evaluated(one, memory_.bytes(), host_isa(), context.pool(),
                                       context.progress(), {&run_, 1})
                      .front());
    const eval::PerplexityResult result =
        eval::run_perplexity(*model, plan, context.pool(), context.progress());
    context.end_progress();
    context.print(sentence(plan, result) + weights_line(model->facts()) +
                  eval::counts_line(model->facts()));
    OrderedJson json = eval::to_json(plan, result);
    json["counts"] = eval::counts_of(model->facts());
    eval::add_facts(model->facts(), compress::source_name(*checkpoint), context.pool(), json);
    context.emit(json);
    if (result.interrupted) context.mark_failed();
  }

 private:
  static std::string weights_line(const eval::ModelFacts& facts) {
    return fmt::format("weights {} ({})\n", eval::weights_of(facts), eval::method_of(facts));
  }

  static std::string sentence(const eval::PerplexityPlan& plan,
                              const eval::PerplexityResult& result) {
    const std::string error =
        result.standard_error ? fmt::format(" ± {:.4f}", *result.standard_error) : std::string();
    return fmt::format(
        "perplexity {:.4f}{}\nprotocol {}, {} of {} windows of {} tokens, {} tokens scored, join "
        "{}{}\n",
        result.perplexity, error, plan.protocol->name, result.windows, plan.available_windows,
        plan.seqlen, result.scored_tokens, plan.join, interrupted_text(result.interrupted));
  }

  std::string model_;
  TextOptions text_;
  MemoryOption memory_;
  model::RunOptions run_;
};

class Eval : public Command {
 public:
  std::string_view name() const override { return "eval"; }
  std::string_view summary() const override { return "Measure how well a model predicts"; }

  void declare(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App& perplexity =
        *app.add_subcommand("perplexity", "Perplexity of a text by a named protocol");
    perplexity.fallthrough();
    perplexity_.declare(perplexity);
    CLI::App& compare = *app.add_subcommand(
        "compare", "Perplexity, KL divergence and agreement of models with a base, token by token");
    compare.fallthrough();
    compare_.declare(compare);
    compares_ = &compare;
  }

  void run(Context& context) override {
    if (compares_->parsed()) return compare_.run(context);
    perplexity_.run(context);
  }

 private:
  EvalPerplexity perplexity_;
  EvalCompare compare_;
  const CLI::App* compares_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_eval() { return std::make_unique<Eval>(); }

}  // namespace tender::cli
