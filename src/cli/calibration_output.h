#pragma once

#include <string>

#include "base/json.h"
#include "compress/merge_calibrations.h"

namespace tender::cli {

/// What `inspect` and `calibration merge` say of a stored calibration: `calibration` (model,
/// method, options, texts) and `sites` with their ranges.
OrderedJson to_json(const compress::CalibrationSummary& summary);
std::string to_text(const compress::CalibrationSummary& summary);

}  // namespace tender::cli
