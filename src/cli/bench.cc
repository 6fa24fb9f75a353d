#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/inspection.h"
#include "cli/run_options.h"
#include "compress/source_name.h"
#include "compress/synthetic.h"
#include "eval/model_facts.h"
#include "eval/peer.h"
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
    auto* model = app.add_option("model", model_, "GGUF file or Hugging Face directory");
    std::string shapes = "In place of a model: a published shape with random weights;";
    for (const std::string_view shape : compress::synthetic_shapes())
      shapes += fmt::format(" {},", shape);
    shapes.pop_back();
    auto* synthetic = app.add_option("--synthetic", synthetic_, shapes)->excludes(model);
    app.add_option("--weight-type", weight_type_, "Of its matrices: Q8_0, Q4_0, Q4_1 or F16")
        ->capture_default_str()
        ->needs(synthetic);
    app.add_option("-p,--prompt-tokens", options_.prompt,
                   "Tokens of the random prompt; 0 leaves prefill out")
        ->capture_default_str();
    app.add_option("-n,--generate", options_.generated,
                   "Tokens to decode one by one; 0 leaves decoding out")
        ->capture_default_str();
    app.add_option("-r,--repetitions", options_.repetitions, "Runs after the warm-up")
        ->capture_default_str();
    app.add_option("--seed", options_.seed, "Of the random prompts, and of random weights")
        ->capture_default_str();
    app.add_flag("--kernels", kernels_, "Every kernel of this build: chosen, or why not");
    auto* compare = app.add_option(
        "--compare", peer_,
        "Time another engine in turn, with the same threads: llama.cpp (Python package "
        "llama-cpp-python) or openvino (openvino-genai)");
    app.add_option("--peer-model", peer_model_,
                   "GGUF file that it reads (default: the model, if it is one)")
        ->needs(compare);
    app.add_option("--peer-python", peer_python_, "Python that has its package")
        ->capture_default_str()
        ->needs(compare);
    declare_run_options(app, run_);
    app.footer(
        "Medians of the runs, with the slowest and the fastest one, beside what this machine does "
        "at most: its best 8-bit instruction out of registers, and memory read by all threads, as "
        "many bytes as a decoded token needs; both probed right before and after the runs that "
        "count. "
        "Example: tender bench model.gguf -p 512 -n 64 -t 2");
  }

  void run(Context& context) override {
    eval::validate(options_);
    model::validate(run_);
    const InterruptGuard guard;
    const auto checkpoint = open_model();
    prefer_packed(*checkpoint, run_);
    const auto peer_file = peer_ ? open_peer_file(*checkpoint) : nullptr;
    const auto peer = peer_ ? start_peer(*peer_file, context) : nullptr;
    const auto model =
        model::load_model(*checkpoint, host_isa(), context.pool(), context.progress(), run_);
    if (options_.generated > 0) refuse_evaluation_methods(*model);
    keep_freed_memory();
    const auto ours = eval::subject_of(*model, options_, context.pool());
    std::vector<eval::SpeedSubject*> subjects = {ours.get()};
    if (peer != nullptr) subjects.push_back(peer.get());

    const eval::TokenWork work = eval::work_of(*model);
    eval::LimitProbe limits(work.bytes, context.pool());
    std::size_t peak_bytes = 0;  // of the model and a run, without the memory of the probe
    const std::vector<eval::SpeedResult> results =
        eval::measure_speed(subjects, model->info().vocabulary, options_, context.progress(), [&] {
          peak_bytes = peak_resident_bytes();
          limits.probe();
        });
    limits.probe();
    context.end_progress();
    OrderedJson json = eval::to_json(options_, results.front());
    json.update(eval::to_json(work, limits.limits(), results.front()));
    eval::add_facts(eval::facts_of(*model), name_of_model(*checkpoint), context.pool(), json);
    json["peak_rss_bytes"] = peak_bytes;
    if (peer != nullptr) json["peer"] = peer_json(*peer, *peer_file, results);
    context.print(table(json, results));
    if (kernels_) {
      const std::vector<KernelChoice> choices = all_kernel_choices();
      context.print(to_text(choices));
      json["all_kernels"] = to_json(choices);
    }
    context.emit(json);
  }

 private:
  std::unique_ptr<io::Checkpoint> open_model() const {
    if (synthetic_.empty() == model_.empty())
      fail(ErrorKind::invalid_argument,
           {.code = "USAGE", .hint = "tender bench MODEL, or tender bench --synthetic llama-1b"},
           "a model or --synthetic is needed");
    if (synthetic_.empty()) return io::open_checkpoint(model_);
    return compress::synthetic_checkpoint(synthetic_, weight_type_, options_.seed);
  }
  std::string name_of_model(const io::Checkpoint& checkpoint) const {
    return synthetic_.empty() ? compress::source_name(checkpoint)
                              : fmt::format("{}, random {}", synthetic_, weight_type_);
  }

  /// The GGUF file that the other engine reads.
  std::unique_ptr<io::Checkpoint> open_peer_file(const io::Checkpoint& checkpoint) {
    if (peer_model_.empty()) {
      if (checkpoint.gguf() == nullptr)
        fail(ErrorKind::invalid_argument,
             {.code = "USAGE",
              .item = "--peer-model",
              .expected = "a GGUF file",
              .hint = "--peer-model FILE.gguf: the same model for the other engine"},
             "{} is no GGUF file, so --compare needs --peer-model",
             model_.empty() ? synthetic_ : model_);
      peer_model_ = model_;
    }
    return io::open_checkpoint(peer_model_);
  }

  std::unique_ptr<eval::Peer> start_peer(const io::Checkpoint& file, Context& context) const {
    if (file.gguf() == nullptr)
      fail(ErrorKind::invalid_argument,
           {.code = "USAGE",
            .item = "--peer-model",
            .found = peer_model_,
            .expected = "a GGUF file",
            .hint = "both engines read GGUF"},
           "{} is no GGUF file", peer_model_);
    return eval::start_peer({.name = *peer_,
                             .python = peer_python_,
                             .model = peer_model_,
                             .threads = context.threads(),
                             .context = std::max(options_.prompt, options_.generated)},
                            context.progress());
  }

  /// Type of the other engine's output head: a large part of what a small model costs.
  static std::string head_type(const io::Checkpoint& file) {
    const TensorInfo* head = file.tensors().find("output.weight");
    if (head == nullptr) head = file.tensors().find("token_embd.weight");
    return head == nullptr ? "none" : std::string(to_string(head->type));
  }

  static OrderedJson peer_json(const eval::Peer& peer, const io::Checkpoint& file,
                               const std::vector<eval::SpeedResult>& results) {
    OrderedJson json = {{"version", peer.version()},
                        {"system", peer.system()},
                        {"model", compress::source_name(file)},
                        {"head_type", head_type(file)}};
    eval::add_rates(json, "prefill_tokens_per_second", results[1].prefill);
    eval::add_rates(json, "decode_tokens_per_second", results[1].decode);
    eval::add_rates(json, "prefill_ratio", eval::ratios(results[0].prefill, results[1].prefill));
    eval::add_rates(json, "decode_ratio", eval::ratios(results[0].decode, results[1].decode));
    return json;
  }

  static std::string peer_text(const OrderedJson& peer) {
    std::string text =
        fmt::format("{}, {}, output head {}\n", peer["version"].get<std::string>(),
                    peer["model"].get<std::string>(), peer["head_type"].get<std::string>());
    for (const std::string what : {"prefill", "decode"}) {
      const auto number = [&](const std::string& key) { return peer[what + key].get<double>(); };
      if (peer[what + "_ratio"].is_null()) continue;
      text += fmt::format(
          "  {:<20}{:>10.2f}{:>10.2f}{:>10.2f}   tokens/s; tender is {:.2f} times as fast "
          "({:.2f} to {:.2f})\n",
          what, number("_tokens_per_second"), number("_tokens_per_second_min"),
          number("_tokens_per_second_max"), number("_ratio"), number("_ratio_min"),
          number("_ratio_max"));
    }
    return text;
  }

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

  std::string table(const OrderedJson& json, const std::vector<eval::SpeedResult>& results) const {
    std::string text =
        fmt::format("{:<22}{:>10}{:>10}{:>10}   tokens/s\n", "", "median", "min", "max");
    const auto line = [&](const std::string& what, const eval::Rates& rates) {
      if (rates.values.empty()) return;
      text += fmt::format("{:<22}{:>10.2f}{:>10.2f}{:>10.2f}\n", what, rates.median(),
                          rates.least(), rates.most());
    };
    line(fmt::format("prefill, {} tokens", options_.prompt), results.front().prefill);
    line(fmt::format("decode, {} tokens", options_.generated), results.front().decode);
    text += limits_text(json);
    if (json.contains("peer")) text += peer_text(json["peer"]);
    text += fmt::format("{} ({}, weights {}), {} threads, {}\n",
                        json["model"]["name"].get<std::string>(), json["method"].get<std::string>(),
                        json["weights"].get<std::string>(), json["threads"].get<std::size_t>(),
                        json["cpu"].get<std::string>());
    text += fmt::format("  {:<20}{}, {} bytes of cache for each token\n", "attention",
                        eval::attention_text(json["attention"]),
                        json["cache_bytes_per_token"].get<std::size_t>());
    for (const auto& kernel : json["kernels"].items())
      text += fmt::format("  {:<20}{}\n", kernel.key(), kernel.value().get<std::string>());
    return text;
  }

  std::string model_;
  std::string synthetic_;
  std::string weight_type_ = "Q4_0";
  bool kernels_ = false;
  std::optional<std::string> peer_;
  std::string peer_model_;
  std::string peer_python_ = "python3";
  eval::SpeedOptions options_;
  model::RunOptions run_;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<Bench>(); }

}  // namespace tender::cli
