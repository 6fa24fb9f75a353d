#include "compress/convert.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"
#include "compress/quantize.h"
#include "io/safetensors_writer.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace tender::compress {
namespace {

constexpr std::size_t kSliceElements = std::size_t{1} << 18U;

using Visit = std::function<void(MatrixView<const float>)>;

/// The float values of every tensor of a model, whether stored or standing behind codes.
class Weights {
 public:
  Weights(const io::Checkpoint& checkpoint, const model::ModelSpec& spec,
          const WeightTransform* transform)
      : reader_(checkpoint, spec), transform_(transform) {
    for (const model::SiteSpec& site : spec.sites)
      if (reader_.is_quantized(site))
        for (std::size_t l = 0; l < site.linears.size(); ++l)
          packed_[site.linears[l] + ".weight"] = {&site, l};
    if (reader_.is_quantized(spec.head)) packed_["lm_head.weight"] = {&spec.head, 0};
  }

  bool has(const std::string& name) const { return packed_.contains(name) || reader_.has(name); }

  /// Shows the rows of a tensor in order, some at a time. A vector is one row.
  void for_each_slice(const model::TensorSpec& tensor, const Visit& visit) {
    if (const auto found = packed_.find(tensor.name); found != packed_.end())
      return show(tensor.name, 0, dequantized(*found->second.site, found->second.linear), visit);
    const std::size_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0];
    const std::size_t step = std::max<std::size_t>(1, kSliceElements / tensor.shape.back());
    for (std::size_t first = 0; first < rows; first += step) {
      slice_.resize(std::min(step, rows - first), tensor.shape.back());
      reader_.read(tensor.name, first, slice_.view());
      show(tensor.name, first, slice_, visit);
    }
    reader_.release(tensor.name);
  }

 private:
  struct Place {
    const model::SiteSpec* site;
    std::size_t linear;
  };

  void show(const std::string& name, std::size_t first, Matrix& rows, const Visit& visit) const {
    if (transform_ != nullptr) transform_->apply(name, first, rows.view());
    visit(rows.view());
  }

  Matrix& dequantized(const model::SiteSpec& site, std::size_t linear) {
    if (loaded_ != &site) {  // layers of a site often follow each other
      if (loaded_ != nullptr) reader_.release(*loaded_);
      site_ = reader_.packed(site);
      loaded_ = &site;
    }
    slice_.resize(site.shape.outs[linear], site.shape.in);
    site_->dequantize(linear, slice_.view());
    return slice_;
  }

  model::WeightReader reader_;
  const WeightTransform* transform_;
  std::map<std::string, Place, std::less<>> packed_;
  const model::SiteSpec* loaded_ = nullptr;
  std::unique_ptr<quant::PackedSite> site_;
  Matrix slice_;
};

constexpr const char* kHead = "lm_head.weight";

/// A head that was quantized says something else than the embedding that it was tied to.
void untie_head(model::ModelSpec& spec) {
  OrderedJson config = OrderedJson::parse(spec.config_json);
  config["tie_word_embeddings"] = false;
  spec.config_json = config.dump();
  const quant::SiteShape& shape = spec.head.shape;
  spec.tensors.push_back({kHead, "", {shape.outs.front(), shape.in}});
}

std::uint16_t encode(DType type, float value) {
  return type == DType::f16 ? float_to_half(value) : float_to_bf16(value);
}
float decode(DType type, std::uint16_t code) {
  return type == DType::f16 ? half_to_float(code) : bf16_to_float(code);
}

/// Whether a type holds this number, sign of zero included. Any NaN stands for any other.
bool holds(DType type, float value) {
  return type == DType::f32 || std::isnan(value) ||
         std::bit_cast<std::uint32_t>(decode(type, encode(type, value))) ==
             std::bit_cast<std::uint32_t>(value);
}

bool holds_all(DType type, MatrixView<const float> rows) {
  for (std::size_t r = 0; r < rows.rows(); ++r)
    if (!std::ranges::all_of(rows.row(r), [&](float value) { return holds(type, value); }))
      return false;
  return true;
}

void step(Progress& progress, std::uint64_t done, std::uint64_t total, std::string_view what) {
  progress.update(done, total, what);
  if (progress.cancelled())
    fail(ErrorKind::invalid_input, {.code = "CANCELLED", .hint = "nothing was written"},
         "the conversion was cancelled");
}

/// float16 and bfloat16 have the same size: where both hold every number, float16 is taken, unless
/// config.json already speaks of bfloat16.
DType smallest_exact(Weights& weights, const model::ModelSpec& spec, const Json& config,
                     Progress& progress) {
  const auto stated = config.find(config.contains("dtype") ? "dtype" : "torch_dtype");
  std::vector<DType> candidates = {DType::f16, DType::bf16};
  if (stated != config.end() && *stated == "bfloat16") std::ranges::reverse(candidates);
  std::uint64_t done = 0;
  for (const model::TensorSpec& tensor : spec.tensors) {
    step(progress, ++done, spec.tensors.size(), "looking for the smallest exact type");
    if (candidates.empty()) return DType::f32;
    if (!weights.has(tensor.name)) continue;
    weights.for_each_slice(tensor, [&](MatrixView<const float> rows) {
      std::erase_if(candidates, [&](DType type) { return !holds_all(type, rows); });
    });
  }
  return candidates.empty() ? DType::f32 : candidates.front();
}

[[noreturn]] void refuse_range(const std::string& name, float value) {
  fail(ErrorKind::invalid_input,
       {.code = "FLOAT_RANGE",
        .item = name,
        .found = fmt::format("{}", value),
        .expected = "numbers up to 65504 in float16",
        .hint = "write --dtype bf16 or --dtype f32"},
       "{} holds {}, which is too large for float16", quote(name), value);
}

/// The bytes of rows in a type, little-endian, and how many numbers were rounded.
std::uint64_t put_rows(const std::string& name, DType type, MatrixView<const float> rows,
                       const std::function<void(std::span<const std::byte>)>& put) {
  const std::size_t count = rows.rows() * rows.cols();
  if (type == DType::f32) {
    put(std::as_bytes(std::span(rows.data(), count)));
    return 0;
  }
  std::vector<std::uint16_t> codes;
  codes.reserve(count);
  std::uint64_t rounded = 0;
  for (std::size_t r = 0; r < rows.rows(); ++r)
    for (const float value : rows.row(r)) {
      codes.push_back(encode(type, value));
      const float kept = decode(type, codes.back());
      if (std::isinf(kept) && !std::isinf(value)) refuse_range(name, value);
      rounded += !holds(type, value);
    }
  put(std::as_bytes(std::span(codes)));
  return rounded;
}

void write_weights(Weights& weights, const model::ModelSpec& spec,
                   const std::filesystem::path& folder, ConvertReport& report, Progress& progress) {
  std::vector<io::TensorToWrite> tensors;
  const auto total = static_cast<std::uint64_t>(std::ranges::count_if(
      spec.tensors, [&](const model::TensorSpec& tensor) { return weights.has(tensor.name); }));
  std::uint64_t done = 0;
  for (const model::TensorSpec& tensor : spec.tensors) {
    if (!weights.has(tensor.name)) continue;
    tensors.push_back({tensor.name, report.type, tensor.shape, [&](const auto& put) {
                         weights.for_each_slice(tensor, [&](MatrixView<const float> rows) {
                           report.rounded += put_rows(tensor.name, report.type, rows, put);
                           report.numbers += rows.rows() * rows.cols();
                         });
                         step(progress, ++done, total, "writing weights");
                       }});
  }
  const io::WrittenTensors written = io::write_safetensors(folder, std::move(tensors));
  report.files = written.files;
  report.bytes = written.bytes;
}

void write_file(const std::filesystem::path& folder, const std::string& name,
                const std::string& text, ConvertReport& report) {
  OutputFile file(folder / name, Overwrite::refuse);
  file.write(text);
  file.commit();
  report.files.push_back(name);
}

std::string config_text(const model::ModelSpec& spec, DType type) {
  OrderedJson config = OrderedJson::parse(spec.config_json);
  const std::string_view name = type == DType::f32   ? "float32"
                                : type == DType::f16 ? "float16"
                                                     : "bfloat16";
  // both spellings: the old one is all that older versions of transformers know
  config["torch_dtype"] = name;
  if (config.contains("dtype")) config["dtype"] = name;
  return to_text(config, 2) + "\n";
}

/// Tokenizer files and generation_config.json, by name.
std::map<std::string, std::string> text_files(const io::Checkpoint& checkpoint,
                                              ConvertReport& report) try {
  return text::tokenizer_files(checkpoint);
} catch (const Error& error) {
  if (error.code() != "TK_MISSING") throw;
  report.notes.emplace_back("the model has no tokenizer; the directory has none either");
  std::map<std::string, std::string> files;
  if (auto generation = checkpoint.read("generation_config.json"))
    files["generation_config.json"] = std::move(*generation);
  return files;
}

}  // namespace

ConvertReport convert(const io::Checkpoint& checkpoint, const ConvertRequest& request,
                      Progress& progress) {
  require(!request.type || request.type == DType::f32 || request.type == DType::f16 ||
              request.type == DType::bf16,
          "convert writes float32, float16 or bfloat16");
  refuse_source(request.output, checkpoint);
  check_writable(request.output, request.overwrite);
  model::ModelSpec spec = model::read_spec(checkpoint);
  Weights weights(checkpoint, spec, request.transform);
  if (spec.info.tied_head && weights.has(kHead)) untie_head(spec);
  ConvertReport report;
  const auto texts = text_files(checkpoint, report);  // a tokenizer that is refused costs no hours
  report.type = request.type
                    ? *request.type
                    : smallest_exact(weights, spec, Json::parse(spec.config_json), progress);
  OutputDirectory directory(request.output, request.overwrite);
  write_weights(weights, spec, directory.path(), report, progress);
  write_file(directory.path(), "config.json", config_text(spec, report.type), report);
  for (const auto& [name, text] : texts) write_file(directory.path(), name, text, report);
  directory.commit();
  return report;
}

}  // namespace tender::compress
