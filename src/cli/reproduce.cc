#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "cli/eval_text.h"
#include "eval/model_facts.h"
#include "evidence/presentation.h"
#include "evidence/runner.h"

namespace tender::cli {
namespace {

class Reproduce : public Command {
 public:
  std::string_view name() const override { return "reproduce"; }
  std::string_view summary() const override {
    return "Measure the tables and plots of the papers on models of yours";
  }

  void declare(CLI::App& app) override {
    std::string names = "What to measure:";
    for (const evidence::Experiment& each : evidence::all_experiments())
      names += fmt::format(" {} ({});", each.name, each.summary);
    names.pop_back();
    app.add_option("experiment", experiment_, names)->required();
    app.add_option("models", models_, "GGUF files or Hugging Face directories, float")->required();
    app.add_option("--text", texts_,
                   "NAME=FILE: a text to evaluate on; wiki and ptb have columns "
                   "in the paper. Give it once for each")
        ->required();
    app.add_option("--calibration", calibration_,
                   "Text for calibration: plain text, or JSONL with a field \"text\"")
        ->required();
    app.add_option("--samples", request_.windows.samples, "Windows of the calibration text")
        ->capture_default_str();
    app.add_option("--calibration-seqlen", calibration_seqlen_,
                   "Tokens of such a window (default: 2048, or what the model was made for where "
                   "that is less)");
    app.add_option("--seed", request_.windows.seed, "Decides which windows")->capture_default_str();
    app.add_option("--protocol", request_.protocol, "Of the perplexity: gptq or llama.cpp")
        ->capture_default_str();
    app.add_option("--seqlen", request_.seqlen,
                   "Tokens of a window (default: the experiment's, or what the model was made for "
                   "where that is less)");
    app.add_option("--limit", request_.limit, "Evaluate only so many windows of each text");
    memory_.declare(app);
    app.add_option("--work", work_,
                   "Directory for quantized models and results; a second run uses them")
        ->capture_default_str();
    app.add_option("--plot", plot_, "Write the plot, an SVG file (for experiments that have one)");
    app.add_option("--markdown", markdown_, "Write the tables as Markdown");
    app.add_flag("--force", force_, "Replace a plot or Markdown file that exists");
    app.footer(
        "Example: tender reproduce ablation model.gguf --text wiki=wiki.test.raw "
        "--calibration c4.jsonl --samples 64 --calibration-seqlen 512\n"
        "A run that was interrupted goes on where it was when it is given again.");
  }

  void run(Context& context) override {
    request_.experiment = &evidence::experiment(experiment_);
    for (const std::string& text : texts_) {
      const std::size_t sign = text.find('=');
      request_.texts.push_back(
          sign == std::string::npos
              ? evidence::NamedText{"", text}
              : evidence::NamedText{text.substr(0, sign), text.substr(sign + 1)});
    }
    request_.models.assign(models_.begin(), models_.end());
    request_.calibration = calibration_;
    request_.windows.seqlen = calibration_seqlen_.value_or(request_.windows.seqlen);
    request_.fit_windows = !calibration_seqlen_;
    request_.work = work_;
    request_.memory = memory_.bytes();
    request_.tool_version = kToolVersion;
    evidence::validate(request_);
    const Overwrite overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    if (plot_) check_plot(overwrite);
    if (markdown_) check_writable(*markdown_, overwrite);
    const InterruptGuard guard;
    OrderedJson document =
        evidence::reproduce(request_, host_isa(), context.pool(), context.progress());
    context.end_progress();
    context.print(evidence::tables_text(document));
    const auto write = [&](const std::string& path, const std::string& content) {
      OutputFile file(path, overwrite);
      file.write(content);
      file.commit();
      context.print(fmt::format("written: {}\n", path));
    };
    if (plot_)
      write(*plot_, evidence::svg(std::string(request_.experiment->summary),
                                  evidence::panels_of(*request_.experiment, document)));
    if (markdown_) write(*markdown_, evidence::tables_markdown(document));
    document.update(eval::machine_facts(context.pool()));
    context.emit(document);
  }

 private:
  void check_plot(Overwrite overwrite) const {
    if (request_.experiment->plot.empty())
      fail(ErrorKind::invalid_argument,
           {.code = "USAGE",
            .item = "--plot",
            .found = experiment_,
            .expected = "an experiment with a plot: tender-groups",
            .hint = "leave --plot out"},
           "experiment {} has no plot", experiment_);
    check_writable(*plot_, overwrite);
  }

  std::string experiment_;
  std::vector<std::string> models_;
  std::vector<std::string> texts_;
  std::string calibration_;
  std::optional<std::size_t> calibration_seqlen_;
  std::string work_ = "reproduce-work";
  std::optional<std::string> plot_;
  std::optional<std::string> markdown_;
  bool force_ = false;
  MemoryOption memory_;
  evidence::ReproduceRequest request_;
};

}  // namespace

std::unique_ptr<Command> make_reproduce() { return std::make_unique<Reproduce>(); }

}  // namespace tender::cli
