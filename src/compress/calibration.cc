#include "compress/calibration.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "compress/stored_parts.h"
#include "io/safetensors/safetensors_structure.h"
#include "model/part_reader.h"

namespace tender::compress {
namespace {

constexpr std::size_t kSampleRows = 8;
constexpr const char* kMetadataKey = "tender_calibration";
constexpr const char* kVersionKey = "format_version";
constexpr const char* kVersion = "1";

/// Hands the rows of each site to its quantizer and keeps kSampleRows of them, taken from windows
/// and places that are spread over the text.
class Observer : public model::SiteObserver {
 public:
  Observer(Calibration& calibration, std::vector<SampleRows>& samples, std::size_t windows)
      : calibration_(calibration), samples_(samples), windows_(windows) {}

  void begin_window(std::size_t window) { window_ = window; }

  void observe(std::size_t site, const Rows& rows) override {
    calibration_.quantizer(site).observe(rows);
    for (std::size_t i = 0; i < kSampleRows; ++i)
      if (window_ == i * windows_ / kSampleRows)
        keep(samples_[site], rows, (2 * i + 1) * rows.values.rows() / (2 * kSampleRows));
  }

 private:
  static void keep(SampleRows& sample, const Rows& rows, std::size_t row) {
    if (sample.positions.empty()) sample.values = Matrix(kSampleRows, rows.values.cols());
    std::ranges::copy(rows.values.row(row), sample.values.row(sample.positions.size()).begin());
    sample.positions.push_back(rows.positions[row]);
  }

  Calibration& calibration_;
  std::vector<SampleRows>& samples_;
  std::size_t windows_;
  std::size_t window_ = 0;
};

std::string described(const Fingerprint& fingerprint) {
  std::string text;
  for (const auto& [key, value] : fingerprint)
    text += (text.empty() ? "" : ", ") + key + " " + value;
  return text;
}

Fingerprint read_fingerprint(const io::SafetensorsStructure& structure, const std::string& file) {
  const auto entry = structure.metadata.find(kMetadataKey);
  if (entry == structure.metadata.end())
    fail(ErrorKind::corrupt_file,
         {.code = "CK_CALIBRATION",
          .file = file,
          .found = "no key tender_calibration in its metadata",
          .expected = "a file that --save-calibration wrote",
          .hint = "give such a file"},
         "is not a stored calibration");
  const Json json = parse_json(entry->second, file, "CK_CALIBRATION");
  Fingerprint fingerprint;
  if (json.is_object())
    for (const auto& item : json.items())
      if (item.value().is_string()) fingerprint[item.key()] = item.value().get<std::string>();
  const std::string version = fingerprint[kVersionKey];
  if (version != kVersion)
    fail(ErrorKind::unsupported,
         {.code = "CK_VERSION",
          .file = file,
          .item = kVersionKey,
          .found = version,
          .expected = kVersion,
          .hint = "calibrate again with this version of tender"},
         "is a calibration of format version {}: this build reads version {}", quote(version),
         kVersion);
  return fingerprint;
}

void check_fingerprint(const Fingerprint& found, const Fingerprint& expected,
                       const std::string& file) {
  Fingerprint differs_found;
  Fingerprint differs_expected;
  for (const auto& [key, value] : expected) {
    const auto entry = found.find(key);
    if (entry != found.end() && entry->second == value) continue;
    differs_found[key] = entry == found.end() ? "missing" : entry->second;
    differs_expected[key] = value;
  }
  if (differs_expected.empty()) return;
  fail(ErrorKind::invalid_input,
       {.code = "CK_FINGERPRINT",
        .file = file,
        .item = differs_expected.begin()->first,
        .found = described(differs_found),
        .expected = described(differs_expected),
        .hint = "calibrate again with --calibration, or give the model and text it was made of"},
       "is the calibration of something else: it has {}; asked for is {}", described(differs_found),
       described(differs_expected));
}

}  // namespace

Calibration::Calibration(const quant::MethodEntry& method, const std::string& options,
                         const model::ModelSpec& spec) {
  const Json parsed = Json::parse(options);
  for (const model::SiteSpec& site : spec.sites)
    quantizers_.push_back(method.quantizer(parsed, site.shape));
  samples_.resize(spec.sites.size());
}

void Calibration::observe(const model::Model& model, const CalibrationText& text, ThreadPool& pool,
                          Progress& progress) {
  require(model.sites().size() == quantizers_.size(), "the model is that of the specification");
  Observer observer(*this, samples_, text.windows.size());
  const auto sequence = model.sequence(text.asked.seqlen);
  Matrix hidden;
  for (std::size_t w = 0; w < text.windows.size(); ++w) {
    if (progress.cancelled())
      fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled; nothing was written");
    observer.begin_window(w);
    sequence->truncate(0);
    const model::BatchItem item{sequence.get(), text.windows[w], text.windows[w].size() - 1};
    model.forward({&item, 1}, hidden, pool, &observer);
    progress.update(w + 1, text.windows.size(), "calibrating");
  }
}

void Calibration::forget(std::size_t site) {
  quantizers_[site].reset();
  samples_[site] = {};
}

void save_calibration(const std::filesystem::path& path, Overwrite overwrite,
                      const Calibration& calibration, const Fingerprint& fingerprint,
                      const model::ModelSpec& spec) {
  StoredParts parts;
  for (std::size_t s = 0; s < spec.sites.size(); ++s) {
    StoredParts::Sink sink(parts, spec.sites[s].name);
    calibration.quantizer(s).save_calibration(sink);
  }
  std::vector<io::TensorToWrite> tensors;
  parts.list(tensors);
  Json described = fingerprint;
  described[kVersionKey] = kVersion;
  const OutputDirectory side(path, overwrite);  // a place beside the file; never committed
  io::write_safetensors(side.path(), std::move(tensors), {{kMetadataKey, to_text(described)}},
                        ~std::uint64_t{0});
  std::filesystem::rename(side.path() / "model.safetensors", path);
}

Fingerprint load_calibration(const std::filesystem::path& path, const Fingerprint& expected,
                             const model::ModelSpec& spec, Calibration& calibration) {
  const MappedFile file(path);
  const io::SafetensorsStructure structure = io::parse_safetensors(file.bytes(), path.string());
  Fingerprint fingerprint = read_fingerprint(structure, path.string());
  check_fingerprint(fingerprint, expected, path.string());
  model::PartIndex index;
  for (const TensorInfo& tensor : structure.tensors) {
    const std::size_t dot = tensor.name.rfind('.');
    if (dot != std::string::npos)
      index.add(std::string_view(tensor.name).substr(0, dot),
                std::string_view(tensor.name).substr(dot + 1), tensor);
  }
  for (std::size_t s = 0; s < spec.sites.size(); ++s)
    calibration.quantizer(s).load_calibration(model::PartReader(index, spec.sites[s].name));
  return fingerprint;
}

}  // namespace tender::compress
