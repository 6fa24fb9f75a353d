#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/calibration_output.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "compress/merge_calibrations.h"

namespace tender::cli {
namespace {

/// `tender calibration merge OUT A B …`.
class Calibration : public Command {
 public:
  std::string_view name() const override { return "calibration"; }
  std::string_view summary() const override {
    return "Merge calibrations that quantize --save-calibration has kept";
  }

  void declare(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App& merge = *app.add_subcommand(
        "merge", "One calibration of several: other texts or seeds, the same model and options");
    merge.fallthrough();
    merge.add_option("output", output_, "File to write")->required();
    merge.add_option("calibrations", paths_, "Files to merge; their order does not matter")
        ->required()
        ->expected(2, 1 << 16);
    merge.add_flag("--force", force_, "Replace an output that exists");
    merge.footer(
        "Example: tender calibration merge both.safetensors c4.safetensors wiki.safetensors\n"
        "then: tender quantize model.gguf out --method tender --load-calibration both.safetensors\n"
        "tender inspect both.safetensors shows what it is");
  }

  void run(Context& context) override {
    const std::vector<std::filesystem::path> paths(paths_.begin(), paths_.end());
    const compress::CalibrationSummary merged = compress::merge_calibrations(
        paths, output_, force_ ? Overwrite::replace : Overwrite::refuse);
    context.print(to_text(merged));
    OrderedJson json = to_json(merged);
    json["output"] = output_;
    context.emit(json);
  }

 private:
  std::string output_;
  std::vector<std::string> paths_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_calibration() { return std::make_unique<Calibration>(); }

}  // namespace tender::cli
