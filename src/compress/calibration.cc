#include "compress/calibration.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "compress/stored_parts.h"
#include "io/safetensors/safetensors_structure.h"
#include "model/part_reader.h"

namespace tender::compress {
namespace {

constexpr const char* kMetadataKey = "tender_calibration";
constexpr const char* kVersionKey = "format_version";
constexpr const char* kVersion = "1";
const std::string kTextPrefix = "calibration.";

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

/// The same with what it says of one of its texts in place of all of them.
Fingerprint with_text(Fingerprint fingerprint, const OrderedJson& text) {
  for (const auto& item : text.items()) fingerprint[kTextPrefix + item.key()] = item.value().dump();
  return fingerprint;
}

Difference difference_of_any_text(const Fingerprint& found, const Fingerprint& expected,
                                  const std::string& file) {
  Difference differs = difference(found, expected);
  const auto merged = found.find(kMergedTexts);
  if (merged == found.end() || differs.expected.empty()) return differs;
  for (const Json& text : parse_json(merged->second, file, "CK_CALIBRATION")) {
    differs = difference(with_text(found, OrderedJson(text)), expected);
    if (differs.expected.empty()) break;
  }
  return differs;
}

void check_fingerprint(const Fingerprint& found, const Fingerprint& expected,
                       const std::string& file) {
  const Difference differs = difference_of_any_text(found, expected, file);
  if (differs.expected.empty()) return;
  fail(ErrorKind::invalid_input,
       {.code = "CK_FINGERPRINT",
        .file = file,
        .item = differs.expected.begin()->first,
        .found = described(differs.found),
        .expected = described(differs.expected),
        .hint = "calibrate again with --calibration, or give the model and text it was made of"},
       "is the calibration of something else: it has {}; asked for is {}", described(differs.found),
       described(differs.expected));
}

}  // namespace

OrderedJson calibration_of(const Fingerprint& fingerprint) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : fingerprint)
    if (key.starts_with(kTextPrefix))
      json[key.substr(kTextPrefix.size())] = OrderedJson::parse(value);
  return json;
}

std::string described(const Fingerprint& fingerprint) {
  std::string text;
  for (const auto& [key, value] : fingerprint)
    text += (text.empty() ? "" : ", ") + key + " " + value;
  return text;
}

Difference difference(const Fingerprint& found, const Fingerprint& expected) {
  Difference differs;
  for (const auto& [key, value] : expected) {
    const auto entry = found.find(key);
    if (entry != found.end() && entry->second == value) continue;
    differs.found[key] = entry == found.end() ? "missing" : entry->second;
    differs.expected[key] = value;
  }
  return differs;
}

bool says_calibration(const io::SafetensorsStructure& structure) {
  return structure.metadata.contains(kMetadataKey);
}

void save_calibration(const std::filesystem::path& path, Overwrite overwrite,
                      std::vector<io::TensorToWrite> parts, const Fingerprint& fingerprint) {
  Json described = fingerprint;
  described[kVersionKey] = kVersion;
  // Written in a directory of its own beside the file, then moved; that one is never committed.
  const OutputDirectory side(path.string() + ".parts", Overwrite::refuse);
  io::write_safetensors(side.path(), std::move(parts), {{kMetadataKey, to_text(described)}},
                        ~std::uint64_t{0});
  check_writable(path, overwrite);
  std::error_code error;
  std::filesystem::rename(side.path() / "model.safetensors", path, error);
  if (error)
    fail(ErrorKind::io, {.code = "IO_WRITE", .file = path.string(), .found = error.message()},
         "the calibration cannot be written: {}", error.message());
}

StoredCalibration::StoredCalibration(const std::filesystem::path& path, const Fingerprint& expected)
    : file_(path),
      structure_(io::parse_safetensors(file_.bytes(), path.string())),
      fingerprint_(read_fingerprint(structure_, path.string())) {
  check_fingerprint(fingerprint_, expected, path.string());
  index_.add(structure_.tensors);
}

void StoredCalibration::load(const std::string& site, quant::SiteQuantizer& quantizer) const {
  quantizer.load_calibration(model::PartReader(index_, site));
}

std::vector<std::string> StoredCalibration::owners() const {
  std::set<std::string> names;
  for (const TensorInfo& part : structure_.tensors)
    if (const std::size_t dot = part.name.rfind('.'); dot != std::string::npos)
      names.insert(part.name.substr(0, dot));
  return {names.begin(), names.end()};
}

}  // namespace tender::compress
