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

constexpr const char* kMetadataKey = "tender_calibration";
constexpr const char* kVersionKey = "format_version";
constexpr const char* kVersion = "1";

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
  const Difference differs = difference(found, expected);
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

}  // namespace tender::compress
