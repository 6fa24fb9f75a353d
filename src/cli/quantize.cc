#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "cli/command.h"
#include "compress/quantize.h"
#include "evidence/experiment.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::cli {
namespace {

std::string flag_of(const std::string& option) {
  std::string flag = "--" + option;
  std::ranges::replace(flag, '_', '-');
  return flag;
}

/// What a flag's text means in JSON; the method says whether it fits.
Json value_of(const std::string& text) {
  Json parsed = Json::parse(text, nullptr, false);
  return parsed.is_number() || parsed.is_boolean() ? parsed : Json(text);
}

DType float_dtype(const std::string& name) {
  if (name == "f16") return DType::f16;
  if (name == "bf16") return DType::bf16;
  if (name == "f32") return DType::f32;
  fail(ErrorKind::invalid_argument,
       {.code = "FLOAT_DTYPE",
        .item = "--float-dtype",
        .found = name,
        .expected = "f16, bf16 or f32"},
       "--float-dtype {}: expected f16, bf16 or f32", quote(name));
}

class Quantize : public Command {
 public:
  std::string_view name() const override { return "quantize"; }
  std::string_view summary() const override { return "Make a small model out of a float one"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory with float weights")
        ->required();
    app.add_option("output", output_, "Directory to write")->required();
    std::string methods = "Method:";
    for (const quant::MethodEntry& method : quant::all_methods())
      methods += fmt::format(" {} ({});", method.name, method.summary);
    methods.pop_back();
    app.add_option("--method", method_, methods)->required();
    declare_options(app);
    app.add_option("--attention-bits", attention_bits_,
                   "Compute attention in integers, too: 8 or 4 bits; none computes it in float "
                   "(default)");
    app.add_option("--kv-bits", kv_bits_,
                   "Bits of the KV cache of integer attention, 8 or 4 (default: --attention-bits; "
                   "given alone, attention has 8 bits)");
    app.add_option("--calibration", calibration_,
                   "Text for calibration: plain text, or JSONL with a field \"text\"");
    app.add_option("--samples", windows_.samples, "Windows of the text to use")
        ->capture_default_str();
    app.add_option("--seqlen", seqlen_,
                   "Tokens of a window (default: 2048, or what the model was made for where that "
                   "is less)");
    app.add_option("--seed", windows_.seed, "Decides which windows (text) or documents (JSONL)")
        ->capture_default_str();
    app.add_option("--save-calibration", save_calibration_,
                   "Keep what calibration has seen in this file");
    app.add_option("--load-calibration", load_calibration_,
                   "Take it from such a file instead of running the model (which runs all the "
                   "same where GPTQ or a head of 4 bits wants to see rows of --calibration)");
    app.add_option("--float-dtype", float_dtype_,
                   "Type of matrices that stay float: f16, bf16 or f32")
        ->capture_default_str();
    app.add_option("--head-bits", head_bits_,
                   "Bits of the LM head: 8 (next to no loss), 4 (least memory to read for a token, "
                   "at some loss; a calibration text lets its codes make up for much of it), or 0 "
                   "to leave it float (default: 8, or 0 where the method's products are in float)");
    app.add_option("--keep-float", keep_float_,
                   "Kinds of sites that stay float, with commas: qkv, o_proj, gate_up, down_proj "
                   "(OPT: qkv, out_proj, fc1, fc2)")
        ->delimiter(',');
    app.add_flag("--replace-invalid", replace_invalid_, "Read bytes that are not UTF-8 as U+FFFD");
    app.add_flag("--restart", restart_,
                 "Start over; without it, a run that was interrupted goes on where it was");
    app.add_flag("--force", force_, "Replace an output that exists");
    app.footer(
        "Recommended: --method tender with its defaults, a megabyte or two of text of the kind the "
        "model will see,\n"
        "and --weight-bits 8 (next to no loss: rows and weights are rotated, and each site rounds "
        "its rows in the way\n"
        "that errs least at its cost) or --weight-bits 4 (half the memory and faster decoding: "
        "integer multipliers, the\n"
        "rotation and GPTQ make 4 bits usable, each alone is far from enough). With "
        "--attention-bits 8 the KV cache takes a\n"
        "quarter and long prompts are a quarter faster, at next to no loss. Calibration takes the "
        "paper's 128 windows\n"
        "of 2048 tokens, whose rows it keeps: 1 MiB for each channel of the model's width. "
        "--samples 64 --seqlen 512\n"
        "take an eighth of the time and of that, and are as good at 8 bits. --mode static and "
        "dynamic of a model that\n"
        "the paper has take its number of groups, unless --groups says another.\n"
        "Examples:\n"
        "  tender quantize model.gguf out --method tender --weight-bits 4 --calibration text.txt\n"
        "  tender quantize model.gguf out --method tender --weight-bits 8 --attention-bits 8 "
        "--calibration text.txt\n"
        "  tender quantize model.gguf out --method tender --calibration text.txt --keep-float "
        "down_proj");
  }

  void run(Context& context) override {
    compress::QuantizeRequest request = make_request();
    compress::validate(request);
    check_writable(request.output, request.overwrite);
    const InterruptGuard guard;
    const auto checkpoint = io::open_checkpoint(model_);
    for (const std::string& note : checkpoint->notes()) context.progress().note(note);
    take_published_groups(*checkpoint, request, context.progress());
    const compress::Report report =
        compress::quantize(*checkpoint, request, host_isa(), context.pool(), context.progress());
    context.end_progress();
    context.print(table(report));
    context.emit(document(report));
  }

 private:
  /// The paper's own modes take its number of groups for a model that it has.
  void take_published_groups(const io::Checkpoint& checkpoint, compress::QuantizeRequest& request,
                             Progress& progress) const {
    const auto published = evidence::published_options(model::read_spec(checkpoint).info, method_,
                                                       Json::parse(request.recipe.options));
    if (!published) return;
    progress.note(published->note);
    request.recipe.options = published->options.dump();
  }

  /// One flag for each name that any method has; which method it belongs to is checked by name.
  void declare_options(CLI::App& app) {
    std::map<std::string, std::string> help;
    for (const quant::MethodEntry& method : quant::all_methods())
      for (const quant::OptionInfo& option : method.options) {
        std::string text = fmt::format("{}: {}", method.name, option.description);
        for (std::size_t i = 0; i < option.choices.size(); ++i)
          text += (i == 0 ? ": " : ", ") + option.choices[i];
        text += fmt::format(" (default {})", option.default_text);
        std::string& all = help[option.name];
        all += (all.empty() ? "" : "; ") + text;
      }
    for (const auto& [option, text] : help)
      app.add_option(flag_of(option), values_[option], text)->group("Options of methods");
  }

  compress::QuantizeRequest make_request() const {
    compress::QuantizeRequest request;
    request.output = output_;
    request.overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    request.recipe.method = method_;
    request.recipe.options = options_of(quant::method(method_)).dump();
    request.recipe.float_type = float_dtype(float_dtype_);
    request.recipe.keep_float = keep_float_;
    request.recipe.head_bits =
        head_bits_ ? *head_bits_ : compress::head_bits_beside(method_, request.recipe.options);
    request.recipe.attention = attention();
    if (calibration_) request.calibration = *calibration_;
    if (load_calibration_) request.load_calibration = *load_calibration_;
    if (save_calibration_) request.save_calibration = *save_calibration_;
    request.restart = restart_;
    request.windows = windows_;
    request.windows.seqlen = seqlen_.value_or(request.windows.seqlen);
    request.fit_windows = !seqlen_;
    request.invalid_text =
        replace_invalid_ ? compress::InvalidText::replace : compress::InvalidText::refuse;
    request.tool_version = kToolVersion;
    return request;
  }

  static int bits_of(const char* flag, const std::string& text) {
    if (text == "8") return 8;
    if (text == "4") return 4;
    fail(ErrorKind::invalid_argument,
         {.code = "KV_BITS", .item = flag, .found = text, .expected = "8 or 4"},
         "{} {}: expected 8 or 4", flag, quote(text));
  }

  std::optional<model::AttentionBits> attention() const {
    model::AttentionBits bits;
    if (attention_bits_ != "none")
      bits.rows = bits.cache = bits_of("--attention-bits", attention_bits_);
    else if (!kv_bits_)
      return std::nullopt;
    if (kv_bits_) bits.cache = bits_of("--kv-bits", *kv_bits_);
    return bits;
  }

  Json options_of(const quant::MethodEntry& method) const {
    Json options = Json::object();
    for (const auto& [option, value] : values_) {
      if (!value) continue;
      if (std::ranges::find(method.options, option, &quant::OptionInfo::name) ==
          method.options.end())
        fail(ErrorKind::invalid_argument,
             {.code = "OPTION_UNKNOWN",
              .item = flag_of(option),
              .found = flag_of(option),
              .expected = "options of " + std::string(method.name),
              .hint = "tender quantize --help lists the options of each method"},
             "method {} has no option {}", method.name, flag_of(option));
      options[option] = value_of(*value);
    }
    return options;
  }

  static std::string table(const compress::Report& report) {
    const auto mib = [](std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    const auto bits = [&](std::uint64_t bytes) {
      return 8.0 * static_cast<double>(bytes) / static_cast<double>(report.parameters);
    };
    std::string text = fmt::format("{:<10}{:>12}{:>20}\n", "", "MiB", "bits per parameter");
    text += fmt::format("{:<10}{:>12.1f}{:>20.3f}\n", "before", mib(report.source_bytes),
                        bits(report.source_bytes));
    text += fmt::format("{:<10}{:>12.1f}{:>20.3f}\n", "after", mib(report.stored_bytes),
                        report.bits_per_weight_model());
    text += fmt::format("{} at {:.3f} bits per weight with {}; {} kept in {}\n",
                        compress::listed_types(report.quantized_from, "matrix", "matrices"),
                        report.bits_per_weight(), report.method,
                        compress::listed_types(report.kept_from, "tensor", "tensors"),
                        report.float_type);
    text += fmt::format("{:.1f} s, {:.0f} MiB of memory at most\n", report.seconds,
                        mib(report.peak_resident_bytes));
    return text;
  }

  OrderedJson document(const compress::Report& report) const {
    OrderedJson json = {{"output", output_}};
    json["method"] = report.method;
    json["options"] = OrderedJson::parse(report.options);
    json["bits_per_weight"] = report.bits_per_weight();
    json["bits_per_weight_model"] = report.bits_per_weight_model();
    json["bytes"] = report.stored_bytes;
    json["source_bytes"] = report.source_bytes;
    json["parameters"] = report.parameters;
    json["seconds"] = report.seconds;
    json["peak_rss_bytes"] = report.peak_resident_bytes;
    json["threads"] = report.threads;
    const OrderedJson whole = compress::report_json(report, kToolVersion);
    json["source"] = whole.at("source");
    json["calibration"] = whole.at("calibration");
    json["layers"] = whole.at("layers");
    json["head"] = whole.at("head");
    json["attention"] = whole.at("recipe").value("attention", OrderedJson());
    return json;
  }

  std::string model_;
  std::string output_;
  std::string method_;
  std::map<std::string, std::optional<std::string>>
      values_;  ///< option of a method → text of its flag
  std::string attention_bits_ = "none";
  std::optional<std::string> kv_bits_;
  std::optional<std::string> calibration_;
  std::optional<std::string> save_calibration_;
  std::optional<std::string> load_calibration_;
  compress::CalibrationWindows windows_;
  std::optional<std::size_t> seqlen_;
  std::string float_dtype_ = "f16";
  std::optional<int> head_bits_;
  std::vector<std::string> keep_float_;
  bool replace_invalid_ = false;
  bool restart_ = false;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_quantize() { return std::make_unique<Quantize>(); }

}  // namespace tender::cli
