#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "cli/calibration_output.h"
#include "cli/command.h"
#include "cli/commands.h"
#include "cli/inspection.h"

namespace tender::cli {
namespace {

class Inspect : public Command {
 public:
  std::string_view name() const override { return "inspect"; }
  std::string_view summary() const override {
    return "Show what a model file holds, or which kernels this CPU runs";
  }

  void declare(CLI::App& app) override {
    app.add_option("model", model_,
                   "GGUF file, Hugging Face directory, safetensors file or stored calibration");
    app.add_flag("--kernels", kernels_, "Every kernel: chosen, or why not");
    app.add_flag("--verify", verify_,
                 "SHA-256 of every file; compares tensors with the hashes stored with them");
    app.footer(
        "tender inspect model.gguf\ntender inspect --kernels\ntender inspect quantized-model "
        "--verify --json");
  }

  void run(Context& context) override {
    if (model_.empty() && !kernels_)
      fail(ErrorKind::invalid_argument,
           {.code = "USAGE", .hint = "tender inspect MODEL, or tender inspect --kernels"},
           "a model or --kernels is needed");
    if (model_.empty() && verify_)
      fail(ErrorKind::invalid_argument, {.code = "USAGE", .hint = "tender inspect MODEL --verify"},
           "--verify needs a model");
    OrderedJson document = OrderedJson::object();
    std::string text;
    if (!model_.empty() && compress::is_stored_calibration(model_)) {
      if (verify_)
        fail(ErrorKind::invalid_argument,
             {.code = "USAGE", .hint = "tender inspect FILE, without --verify"},
             "a stored calibration has no checksums to verify");
      const compress::CalibrationSummary summary = compress::summarize_calibration(model_);
      document = to_json(summary);
      text = to_text(summary);
    } else if (!model_.empty()) {
      const auto checkpoint = io::open_checkpoint(model_);
      Inspection inspection = inspect_model(*checkpoint);
      if (verify_) verify(*checkpoint, inspection);
      document = to_json(inspection, *checkpoint);
      text = to_text(inspection, *checkpoint);
    }
    if (kernels_) {
      const auto choices = all_kernel_choices();
      document["cpu"] = cpu_name();
      document["isa"] = {{"detected", to_string(detected_isa())},
                         {"allowed", to_string(host_isa())}};
      document["kernels"] = to_json(choices);
      text += (text.empty() ? "" : "\n") + to_text(choices);
    }
    context.print(text);
    context.emit(document);
  }

 private:
  std::string model_;
  bool kernels_ = false;
  bool verify_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<Inspect>(); }

}  // namespace tender::cli
