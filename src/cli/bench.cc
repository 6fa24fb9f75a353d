#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/inspection.h"
#include "cli/run_options.h"
#include "compress/source_name.h"
#include "eval/model_facts.h"
#include "eval/speed.h"
#include "eval/speed_limits.h"
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
    app.add_flag("--kernels", kernels_, "Every kernel of this build: chosen, or why not");
    declare_run_options(app, run_);
    app.footer(
        "Medians of the runs, with the slowest and the fastest one, beside what this machine does "
        "at most: its best 8-bit instruction out of registers, and memory read by all threads, as "
        "many bytes as a decoded token needs; both probed right before and after the runs. "
        "Example: tender bench model.gguf -p 512 -n 64 -t 2");
  }

  void run(Context& context) override {
    eval::validate(options_);
    model::validate(run_);
    const InterruptGuard guard;
    const auto checkpoint = io::open_checkpoint(model_);
    const auto model =
        model::load_model(*checkpoint, host_isa(), context.pool(), context.progress(), run_);
    if (options_.generated > 0) refuse_evaluation_methods(*model);
    const eval::TokenWork work = eval::work_of(*model);
    eval::LimitProbe probe(work.bytes, context.pool());
    const eval::SpeedResult result =
        eval::measure_speed(*model, options_, context.pool(), context.progress());
    probe.again();
    context.end_progress();
    OrderedJson json = eval::to_json(options_, result);
    json.update(eval::to_json(work, probe.limits(), result));
    eval::add_facts(eval::facts_of(*model), compress::source_name(*checkpoint), context.pool(),
                    json);
    context.print(table(json, result));
    if (kernels_) {
      const std::vector<KernelChoice> choices = all_kernel_choices();
      context.print(to_text(choices));
      json["all_kernels"] = to_json(choices);
    }
    context.emit(json);
  }

 private:
  static std::string limits_text(const OrderedJson& json) {
    const auto number = [&](const char* key) { return json[key].get<double>(); };
    std::string text;
    if (json["prefill_gops"].is_number())
      text += fmt::format("prefill: {:.0f} GOP/s in linear layers", number("prefill_gops"));
    if (json["prefill_share_of_peak"].is_number())
      text += fmt::format(", {:.1f} % of the {:.0f} that {} reaches",
                          100 * number("prefill_share_of_peak"), number("integer_peak_gops"),
                          json["integer_peak_instruction"].get<std::string>());
    if (!text.empty()) text += "\n";
    if (json["decode_gb_per_second"].is_number())
      text += fmt::format(
          "decode: {:.1f} MiB of weights a token, {:.1f} GB/s, {:.1f} % of the {:.1f} that a read "
          "of as much memory reaches\n",
          number("decode_bytes") / (1 << 20), number("decode_gb_per_second"),
          100 * number("decode_share_of_probe"), number("read_probe_gb_per_second"));
    return text;
  }

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
    text += limits_text(json);
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
  bool kernels_ = false;
  eval::SpeedOptions options_;
  model::RunOptions run_;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

}  // namespace tender::cli
