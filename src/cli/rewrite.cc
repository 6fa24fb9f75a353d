#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "compress/outliers.h"
#include "io/checkpoint.h"

namespace tender::cli {
namespace {

class Rewrite : public Command {
 public:
  std::string_view name() const override { return "rewrite"; }
  std::string_view summary() const override {
    return "Write a model of the same function with outlier channels (synthetic, for studies)";
  }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    app.add_option("output", output_, "Directory to write")->required();
    app.add_option("--factors", request_.factors,
                   "By what the chosen channels behind the norms grow, in turn; powers of two "
                   "change no logit")
        ->delimiter(',')
        ->capture_default_str();
    app.add_option("--channels", request_.channels, "How many channels")->capture_default_str();
    app.add_option("--offset", request_.offset,
                   "Added to them in units of their gain, and taken back by biases (LayerNorm)")
        ->capture_default_str();
    app.add_option("--seed", request_.seed, "Decides which channels")->capture_default_str();
    app.add_flag("--force", force_, "Replace the output if it exists");
    app.footer(
        "Example: tender rewrite model.gguf model-outliers --factors 8,32 --channels 6\n"
        "Large models have such channels by themselves; this shows what they do to a method.");
  }

  void run(Context& context) override {
    const auto checkpoint = io::open_checkpoint(model_);
    for (const std::string& note : checkpoint->notes()) context.remark(note);
    const compress::Outliers outliers(*checkpoint, request_);
    compress::ConvertRequest request;
    request.output = output_;
    request.overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    request.type = DType::f32;
    request.transform = &outliers;
    const compress::ConvertReport report =
        compress::convert(*checkpoint, request, context.progress());
    context.end_progress();
    for (const std::string& note : report.notes) context.remark(note);
    context.emit({{"output", output_},
                  {"channels", outliers.channels()},
                  {"factors", request_.factors},
                  {"offset", request_.offset},
                  {"norms", outliers.norms()},
                  {"bytes", report.bytes},
                  {"files", report.files}});
    std::string channels;
    for (const std::size_t channel : outliers.channels())
      channels += (channels.empty() ? "" : ", ") + std::to_string(channel);
    context.print(fmt::format("{}: channels {} grow behind {} norms, {:.1f} MiB in f32\n", output_,
                              channels, outliers.norms(),
                              static_cast<double>(report.bytes) / (1 << 20)));
  }

 private:
  std::string model_;
  std::string output_;
  compress::OutlierRequest request_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_rewrite() { return std::make_unique<Rewrite>(); }

}  // namespace tender::cli
