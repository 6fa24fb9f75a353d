#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/output.h"
#include "io/safetensors/safetensors_structure.h"
#include "io/safetensors_writer.h"
#include "model/part_reader.h"
#include "quant/registry.h"
#include "tensor/matrix.h"

namespace tender::compress {

/// A few of the rows that entered a site, to measure on what quantizing costs.
struct SampleRows {
  Matrix values;                        ///< [rows, in], the first `rows` filled
  std::vector<std::int32_t> positions;  ///< [rows]
};

/// What a stored calibration, or the state of an unfinished run, belongs to, by name: "model",
/// "method", "calibration.sha256", … → value.
using Fingerprint = std::map<std::string, std::string>;

/// Where several calibrations were merged: the descriptions of their texts, as a JSON array.
inline constexpr const char* kMergedTexts = "calibration.merged";
/// What a calibration says of its text: the members named "calibration." without that.
OrderedJson calibration_of(const Fingerprint& fingerprint);

/// "model ab12…, method tender": for messages.
std::string described(const Fingerprint& fingerprint);

/// The values of `expected` that `found` has otherwise or lacks: what each of the two says.
struct Difference {
  Fingerprint found;
  Fingerprint expected;
};
Difference difference(const Fingerprint& found, const Fingerprint& expected);

/// Stores what calibration has seen of all sites as a safetensors file that appears whole or not at
/// all.
/// @param parts  "<site>.<part>", made by SiteQuantizer::save_calibration
void save_calibration(const std::filesystem::path& path, Overwrite overwrite,
                      std::vector<io::TensorToWrite> parts, const Fingerprint& fingerprint);

/// Whether the metadata of a safetensors file say that it is one.
bool says_calibration(const io::SafetensorsStructure& structure);

/// Such a file, open.
class StoredCalibration {
 public:
  /// @param expected  what must be equal where it is named; of a text, with one of those that were
  ///                  merged
  /// @throws Error corrupt_file (CK_…, ST_…), invalid_input (CK_FINGERPRINT, showing the
  /// difference)
  StoredCalibration(const std::filesystem::path& path, const Fingerprint& expected);

  const Fingerprint& fingerprint() const { return fingerprint_; }
  /// Gives a quantizer what was seen at its site. @throws Error corrupt_file
  void load(const std::string& site, quant::SiteQuantizer& quantizer) const;
  /// The parts of an owner. They live as long as this.
  model::PartReader parts(const std::string& owner) const { return {index_, owner}; }
  /// The owners of its parts, sites and the attention of layers, in alphabetical order.
  std::vector<std::string> owners() const;

 private:
  MappedFile file_;
  io::SafetensorsStructure structure_;
  Fingerprint fingerprint_;
  model::PartIndex index_;
};

}  // namespace tender::compress
