#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "eval/model_facts.h"

namespace tender::cli {
namespace {

constexpr std::size_t kDefaultTokens = 256;

class Generate : public Command {
 public:
  std::string_view name() const override { return "generate"; }
  std::string_view summary() const override { return "Continue a text"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    auto* input = app.add_option_group("input", "The text to continue (one of them)");
    input->add_option("--prompt", prompt_, "The text itself");
    input->add_option("--prompt-file", file_, "A file, taken byte for byte; - is standard input");
    input->require_option(1);
    app.add_flag("--literal", literal_, "Special tokens written in the text are text");
    declare_generation(app, options_,
                       fmt::format("Most tokens to generate (default {})", kDefaultTokens),
                       "Most tokens of prompt and answer (default: what they need, at most what "
                       "the model was made for)");
    app.footer(
        "The text goes to stdout as it comes, the statistics to stderr. It ends with the model's "
        "own end of a\n"
        "text, a stop string, -n, a full context, or Ctrl-C (again Ctrl-C ends at once).\n"
        "Examples:\n"
        "  tender generate models/smollm2-135m --prompt 'The capital of France is' -n 32\n"
        "  tender generate models/smollm2-135m --prompt-file story.txt --temperature 0.8 --top-p "
        "0.95 --seed 7");
  }

  void run(Context& context) override {
    model::validate(options_.sampler);
    model::validate(options_.run);
    if (!options_.most_tokens) options_.most_tokens = kDefaultTokens;
    const std::string prompt = file_.empty() ? prompt_ : read_prompt();
    const InterruptGuard guard;
    Generator generator(model_, options_.run, context);
    const auto ids =
        generator.tokenizer().encode(prompt, {.add_special = true, .parse_special = !literal_});
    generator.reserve(room(ids.size(), generator.info().context));
    const Generation result = generator.run(ids, options_, [&](std::string_view piece) {
      context.print(piece);
      std::fflush(stdout);
    });
    if (!result.text.ends_with('\n')) context.print("\n");
    std::fflush(stdout);
    if (result.finish == Finish::context)
      context.progress().note(
          fmt::format("the context of {} tokens is full", generator.context_tokens()));
    context.remark(statistics_line(result, generator) + "\n");
    context.remark(eval::counts_line(generator.counts()));
    OrderedJson document = generation_json(result);
    document["weights"] = generator.weights();
    document["counts"] = generator.counts();
    document["context"] = generator.context_tokens();
    document["cache_bytes"] = generator.cache_bytes();
    document["load_seconds"] = generator.load_seconds();
    document["peak_rss_bytes"] = peak_resident_bytes();
    context.emit(document);
  }

 private:
  /// What was asked for; else what prompt and answer need, within what the model was made for.
  std::size_t room(std::size_t prompt, std::size_t made_for) const {
    if (options_.context) return *options_.context;
    return std::max<std::size_t>(1, std::min(prompt + *options_.most_tokens, made_for));
  }

  std::string read_prompt() const {
    if (file_ != "-") return read_file(file_);
    const std::istreambuf_iterator<char> begin(std::cin);
    return {begin, {}};
  }

  std::string model_;
  std::string prompt_;
  std::string file_;
  bool literal_ = false;
  GenerationOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_generate() { return std::make_unique<Generate>(); }

}  // namespace tender::cli
