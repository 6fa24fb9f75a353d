#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/command.h"
#include "compress/convert.h"
#include "io/checkpoint.h"

namespace tender::cli {
namespace {

class Convert : public Command {
 public:
  std::string_view name() const override { return "convert"; }
  std::string_view summary() const override {
    return "Write a model as a Hugging Face directory of float tensors";
  }

  void declare(CLI::App& app) override {
    app.add_option("model", model_,
                   "GGUF file or Hugging Face directory, also one that tender quantized")
        ->required();
    app.add_option("output", output_, "Directory to write")->required();
    app.add_option("--dtype", type_,
                   "f32, f16 or bf16; by default the smallest that holds every number")
        ->check(CLI::IsMember({"f32", "f16", "bf16"}));
    app.add_flag("--force", force_, "Replace the output if it exists");
    app.footer(
        "Examples:\n"
        "  tender convert models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf smollm2-hf\n"
        "  tender convert smollm2-w8a8 smollm2-w8a8-float --dtype f16");
  }

  void run(Context& context) override {
    const auto checkpoint = io::open_checkpoint(model_);
    for (const std::string& note : checkpoint->notes()) context.remark(note);
    const compress::ConvertReport report =
        compress::convert(*checkpoint, request(), context.progress());
    context.end_progress();
    for (const std::string& note : report.notes) context.remark(note);
    if (report.rounded > 0)
      context.remark(fmt::format("{} of {} numbers were rounded to {}", report.rounded,
                                 report.numbers, to_string(report.type)));
    context.emit({{"output", output_},
                  {"dtype", type_name(report.type)},
                  {"numbers", report.numbers},
                  {"rounded", report.rounded},
                  {"bytes", report.bytes},
                  {"files", report.files}});
    context.print(fmt::format("{}: {} numbers as {}, {:.1f} MiB\n", output_, report.numbers,
                              type_name(report.type),
                              static_cast<double>(report.bytes) / (1 << 20)));
  }

 private:
  compress::ConvertRequest request() const {
    compress::ConvertRequest request;
    request.output = output_;
    request.overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    for (const DType type : {DType::f32, DType::f16, DType::bf16})
      if (type_name(type) == type_) request.type = type;
    return request;
  }

  static std::string_view type_name(DType type) {
    return type == DType::f32 ? "f32" : type == DType::f16 ? "f16" : "bf16";
  }

  std::string model_;
  std::string output_;
  std::string type_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_convert() { return std::make_unique<Convert>(); }

}  // namespace tender::cli
