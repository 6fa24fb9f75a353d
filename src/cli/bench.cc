#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "base/cpu.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/run_options.h"
#include "compress/source_name.h"
#include "eval/model_facts.h"
#include "eval/speed.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::cli {
namespace {

class Bench : public Command {
 public:
  std::string_view name() const override { return "bench"; }
  std::string_view summary() const override { return "Measure prefill and decoding speed"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    app.add_option("-p,--prompt-tokens", options_.prompt,
                   "Tokens of the random prompt; 0 leaves prefill out")
        ->capture_default_str();
    app.add_option("-n,--generate", options_.generated,
                   "Tokens to decode one by one; 0 leaves decoding out")
        ->capture_default_str();
    app.add_option("-r,--repetitions", options_.repetitions, "Runs after the warm-up")
        ->capture_default_str();
    app.add_option("--seed", options_.seed, "Of the random prompt")->capture_default_str();
    declare_run_options(app, run_);
    app.footer(
        "Medians of the runs, with the slowest and the fastest one. Example: tender bench "
        "model.gguf -p 512 -n 64 -t 2");
  }

  void run(Context& context) override {
    eval::validate(options_);
    model::validate(run_);
    const InterruptGuard guard;
    const auto checkpoint = io::open_checkpoint(model_);
    const auto model =
        model::load_model(*checkpoint, host_isa(), context.pool(), context.progress(), run_);
    if (options_.generated > 0) refuse_evaluation_methods(*model);
    const eval::SpeedResult result =
        eval::measure_speed(*model, options_, context.pool(), context.progress());
    context.end_progress();
    OrderedJson json = eval::to_json(options_, result);
    eval::add_facts(eval::facts_of(*model), compress::source_name(*checkpoint), context.pool(),
                    json);
    context.print(table(json, result));
    context.emit(json);
  }

 private:
  std::string table(const OrderedJson& json, const eval::SpeedResult& result) const {
    std::string text =
        fmt::format("{:<22}{:>10}{:>10}{:>10}   tokens/s\n", "", "median", "min", "max");
    const auto line = [&](const std::string& what, const eval::Rates& rates) {
      if (rates.values.empty()) return;
      text += fmt::format("{:<22}{:>10.2f}{:>10.2f}{:>10.2f}\n", what, rates.median(),
                          rates.least(), rates.most());
    };
    line(fmt::format("prefill, {} tokens", options_.prompt), result.prefill);
    line(fmt::format("decode, {} tokens", options_.generated), result.decode);
    text += fmt::format("{} ({}), {} threads, {}\n", json["model"]["name"].get<std::string>(),
                        json["method"].get<std::string>(), json["threads"].get<std::size_t>(),
                        json["cpu"].get<std::string>());
    text += fmt::format("  {:<20}{}, {} bytes of cache for each token\n", "attention",
                        eval::attention_text(json["attention"]),
                        json["cache_bytes_per_token"].get<std::size_t>());
    for (const auto& kernel : json["kernels"].items())
      text += fmt::format("  {:<20}{}\n", kernel.key(), kernel.value().get<std::string>());
    return text;
  }

  std::string model_;
  eval::SpeedOptions options_;
  model::RunOptions run_;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

}  // namespace tender::cli
