#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "cli/command.h"
#include "compress/outliers.h"
#include "compress/zero_codes.h"
#include "io/checkpoint.h"
#include "text/tokenizer.h"

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
    app.add_option("--text", text_,
                   "Count on this text how many activations would get the code 0 from one step per "
                   "tensor and per row, before and after");
    app.add_option("--samples", windows_.samples, "Windows of that text")->capture_default_str();
    app.add_option("--seqlen", windows_.seqlen, "Tokens of a window")->capture_default_str();
    app.add_flag("--force", force_, "Replace the output if it exists");
    app.footer(
        "Example: tender rewrite model.gguf model-outliers --factors 8,32 --channels 6\n"
        "Large models have such channels by themselves; this shows what they do to a method.");
  }

  void run(Context& context) override {
    const auto checkpoint = io::open_checkpoint(model_);
    for (const std::string& note : checkpoint->notes()) context.remark(note);
    const InterruptGuard guard;
    const compress::Outliers outliers(*checkpoint, request_);
    std::optional<compress::CalibrationText> text;
    if (text_)
      text = compress::read_calibration_text(*text_, *text::open_tokenizer(*checkpoint), windows_,
                                             compress::InvalidText::refuse, context.progress());
    compress::ConvertRequest request;
    request.output = output_;
    request.overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    request.type = DType::f32;
    request.transform = &outliers;
    const compress::ConvertReport report =
        compress::convert(*checkpoint, request, context.progress());
    context.end_progress();
    for (const std::string& note : report.notes) context.remark(note);
    OrderedJson json = {{"output", output_},           {"channels", outliers.channels()},
                        {"factors", request_.factors}, {"offset", request_.offset},
                        {"norms", outliers.norms()},   {"bytes", report.bytes},
                        {"files", report.files}};
    std::string channels;
    for (const std::size_t channel : outliers.channels())
      channels += (channels.empty() ? "" : ", ") + std::to_string(channel);
    context.print(fmt::format("{}: channels {} grow behind {} norms, {:.1f} MiB in f32\n", output_,
                              channels, outliers.norms(),
                              static_cast<double>(report.bytes) / (1 << 20)));
    if (text) {
      const auto count = [&](const io::Checkpoint& of) {
        return compress::count_zero_codes(of, *text, host_isa(), context.pool(),
                                          context.progress());
      };
      const auto before = count(*checkpoint);
      const auto after = count(*io::open_checkpoint(output_));
      context.end_progress();
      json["text"] = text->describe();
      json["zero_codes"] = {{"before", shares(before)}, {"after", shares(after)}};
      context.print(table(before, after));
    }
    context.emit(json);
  }

 private:
  static OrderedJson shares(const std::vector<compress::ZeroCodes>& kinds) {
    OrderedJson json = OrderedJson::object();
    for (const compress::ZeroCodes& kind : kinds)
      json[kind.kind] = {{"values", kind.values},
                         {"per_tensor_8", kind.share(kind.per_tensor_8)},
                         {"per_tensor_4", kind.share(kind.per_tensor_4)},
                         {"per_row_8", kind.share(kind.per_row_8)},
                         {"per_row_4", kind.share(kind.per_row_4)}};
    return json;
  }

  static std::string table(const std::vector<compress::ZeroCodes>& before,
                           const std::vector<compress::ZeroCodes>& after) {
    std::string text = fmt::format(
        "zero codes of activations, %, before and after\n{:<20}{:>18}{:>18}{:>18}{:>18}\n", "",
        "INT8 per tensor", "INT8 per row", "INT4 per tensor", "INT4 per row");
    for (std::size_t i = 0; i < before.size(); ++i) {
      text += fmt::format("{:<20}", before[i].kind);
      for (const auto counted :
           {&compress::ZeroCodes::per_tensor_8, &compress::ZeroCodes::per_row_8,
            &compress::ZeroCodes::per_tensor_4, &compress::ZeroCodes::per_row_4})
        text += fmt::format("{:>18}",
                            fmt::format("{:.1f} {:.1f}", 100 * before[i].share(before[i].*counted),
                                        100 * after[i].share(after[i].*counted)));
      text += "\n";
    }
    return text;
  }

  std::string model_;
  std::string output_;
  std::optional<std::string> text_;
  compress::CalibrationWindows windows_{8, 512, 0};
  compress::OutlierRequest request_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_rewrite() { return std::make_unique<Rewrite>(); }

}  // namespace tender::cli
