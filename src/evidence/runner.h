#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "compress/calibration_text.h"
#include "evidence/experiment.h"

namespace tender::evidence {

/// A text by the name that its columns have: "wiki", "ptb".
struct NamedText {
  std::string name;
  std::filesystem::path path;
};

struct ReproduceRequest {
  const Experiment* experiment = nullptr;
  std::vector<std::filesystem::path> models;
  std::vector<NamedText> texts;
  std::filesystem::path calibration;
  compress::CalibrationWindows windows;
  bool fit_windows = false;          ///< not longer than what the model was made for
  std::optional<std::size_t> limit;  ///< most windows of each text
  /// In place of the experiment's, which are cut to what each model was made for.
  std::optional<std::size_t> seqlen;
  std::string protocol = "gptq";
  std::filesystem::path work;  ///< quantized models and results, kept for the next run
  std::uint64_t memory = std::uint64_t{4} << 30U;  ///< that evaluated models may take, bytes
  std::string tool_version;
};

/// Quantizes and evaluates the variants of an experiment on each model.
///
/// Everything made on the way is kept in `work` under names that hold the hash of model, recipe,
/// texts and windows: a run that was killed, or one with more models, does again only what is
/// missing, and results of other models or texts are never taken for its own. Variants of methods
/// that this build lacks are named in `missing`.
///
/// @return {"experiment", "protocol", "calibration", "limit", "tables": [{"model", "seqlen",
/// "calibration_seqlen", "base": {text: …}, "rows": [{"group", "name", "method", "options",
/// "remark", "bits_per_weight", "bits_per_activation", "texts": {text: {…Agreement, "counts",
/// "published"}}}]}], "missing"}. A model that gives no numbers has {"failed": code} for that text.
/// Counts are those of sites with calibrated ranges, by kind of site (eval::counts_of()).
/// @throws Error of quantize() and run_comparison(); CANCELLED
OrderedJson reproduce(const ReproduceRequest& request, Isa isa, ThreadPool& pool,
                      Progress& progress);

/// Refuses what is wrong with a request before any file is read. @throws Error invalid_argument
void validate(const ReproduceRequest& request);

}  // namespace tender::evidence
