#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/generation.h"
#include "eval/model_facts.h"

namespace tender::cli {
namespace {

constexpr std::size_t kDefaultContext = 4096;

class Chat : public Command {
 public:
  std::string_view name() const override { return "chat"; }
  std::string_view summary() const override { return "Talk with a model by its own chat template"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    app.add_option("--system", system_, "What the model is told before the talk");
    declare_generation(
        app, options_, "Most tokens of one answer (default: until the context is full)",
        fmt::format("Most tokens of the whole talk (default {}, or what the model was made for)",
                    kDefaultContext));
    app.footer(
        "One line of standard input is one turn; answers go to stdout. /exit or the end of the "
        "input ends the\n"
        "talk, Ctrl-C an answer, and the talk where none is being given.\n"
        "Example:\n"
        "  tender chat models/smollm2-135m --system 'Answer in one sentence.' --temperature 0.7 "
        "--seed 1");
  }

  void run(Context& context) override {
    model::validate(options_.sampler);
    model::validate(options_.run);
    Generator generator(model_, options_.run, context);
    Conversation talk(generator.tokenizer());
    generator.reserve(
        options_.context.value_or(std::min(kDefaultContext, generator.info().context)));
    if (!system_.empty()) talk.add("system", system_);
    while (const auto line = next_line(context)) {
      if (line->empty()) continue;
      talk.add("user", *line);
      if (!answer(generator, talk, context)) break;
    }
    context.remark(totals(generator) + eval::counts_line(generator.counts()));
    context.emit({{"messages", talk.messages()},
                  {"turns", turns_},
                  {"prompt_tokens", read_},
                  {"prefill_seconds", prefill_seconds_},
                  {"generated_tokens", generated_},
                  {"decode_tokens_per_second", speed() ? OrderedJson(*speed()) : OrderedJson()},
                  {"weights", generator.weights()},
                  {"counts", generator.counts()},
                  {"context", generator.context_tokens()},
                  {"peak_rss_bytes", peak_resident_bytes()}});
  }

 private:
  /// The next turn of the user; nothing at the end of the input, on /exit and on Ctrl-C.
  std::optional<std::string> next_line(const Context& context) const {
    const InterruptGuard guard;
    const bool terminal = isatty(STDIN_FILENO) == 1;
    if (terminal) context.remark("> ");
    std::string line;
    if (!std::getline(std::cin, line) || InterruptGuard::raised()) {
      if (terminal) context.remark("\n");
      return std::nullopt;
    }
    if (line.ends_with('\r')) line.pop_back();
    if (line == "/exit") return std::nullopt;
    return line;
  }

  /// One answer of the model. @return whether the talk can go on
  bool answer(Generator& generator, Conversation& talk, Context& context) {
    const InterruptGuard guard;
    GenerationOptions options = options_;
    options.sampler.seed += turns_.size();  // else every answer would draw the same numbers
    Generation result;
    try {
      result = generator.run(talk.tokens(), options, [&](std::string_view piece) {
        context.print(piece);
        std::fflush(stdout);
      });
    } catch (const Error& error) {
      if (error.code() != "CONTEXT_FULL" || turns_.empty()) throw;
      talk.drop_last();
      context.progress().note(full(generator) + "; this turn does not fit any more");
      return false;
    }
    context.print("\n");
    std::fflush(stdout);
    talk.add("assistant", result.text);
    turns_.push_back(generation_json(result));
    read_ += result.prompt_tokens - result.reused_tokens;
    prefill_seconds_ += result.prefill_seconds;
    generated_ += result.ids.size();
    decoded_ += result.decoded();
    decode_seconds_ += result.decode_seconds;
    if (result.finish != Finish::context) return true;
    context.progress().note(full(generator));
    return false;
  }

  static std::string full(const Generator& generator) {
    return fmt::format("the context of {} tokens is full", generator.context_tokens());
  }

  std::optional<double> speed() const {
    if (decoded_ == 0 || decode_seconds_ <= 0) return std::nullopt;
    return static_cast<double>(decoded_) / decode_seconds_;
  }

  std::string totals(const Generator& generator) const {
    std::string text = fmt::format("{} turns · prompt {} tokens in {:.2f} s · {} generated",
                                   turns_.size(), read_, prefill_seconds_, generated_);
    if (speed()) text += fmt::format(", {:.1f} tokens/s", *speed());
    return text + fmt::format(" · weights {} · peak memory {:.0f} MiB\n", generator.weights(),
                              static_cast<double>(peak_resident_bytes()) / (1 << 20));
  }

  std::string model_;
  std::string system_;
  GenerationOptions options_;
  OrderedJson turns_ = OrderedJson::array();
  std::size_t read_ = 0;
  std::size_t generated_ = 0;
  std::size_t decoded_ = 0;
  double prefill_seconds_ = 0;
  double decode_seconds_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_chat() { return std::make_unique<Chat>(); }

}  // namespace tender::cli
