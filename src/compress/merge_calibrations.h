#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/output.h"
#include "compress/calibration.h"

namespace tender::compress {

/// What a stored calibration holds of one site.
struct SeenSite {
  std::string name;
  std::size_t in = 0;            ///< channels; 0 where no part tells
  std::int64_t rows = 0;         ///< that were seen; 0 where no part counts them
  std::optional<float> least;    ///< of all channels, where the method keeps it
  std::optional<float> largest;  ///< of all channels
  std::uint64_t bytes = 0;
};

/// What a stored calibration is, for people.
struct CalibrationSummary {
  Fingerprint fingerprint;
  OrderedJson texts;  ///< array: one description per text that was shown to the model
  std::vector<SeenSite> sites;
};

/// Whether this is a file that --save-calibration or a merge wrote, going by its metadata; false
/// for whatever cannot be read.
bool is_stored_calibration(const std::filesystem::path& path);

/// @throws Error as StoredCalibration
CalibrationSummary summarize_calibration(const std::filesystem::path& path);

/// Stores what several calibrations of the same model, method and options have seen together, as if
/// their texts had been shown in one run; the order of the files does not matter. The texts of all
/// stand in the result, which --load-calibration takes like any other.
/// @param paths  at least two
/// @throws Error invalid_input (CK_FINGERPRINT where model, method or options differ),
///         invalid_argument (CALIBRATION_CONFLICT where a text is there twice), corrupt_file, io
CalibrationSummary merge_calibrations(std::span<const std::filesystem::path> paths,
                                      const std::filesystem::path& output, Overwrite overwrite);

}  // namespace tender::compress
