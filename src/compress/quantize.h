#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/output.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "compress/calibration_text.h"
#include "compress/report.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::compress {

/// What to do to a model; recipes are data.
struct Recipe {
  std::string method;
  std::string options = "{}";  ///< of the method, as JSON; what is not named has its default
  /// Of integer attention; nothing leaves it in float.
  std::optional<model::AttentionBits> attention = std::nullopt;
  DType float_type = DType::f16;  ///< of matrices that stay float; vectors are always float32
  /// Of the LM head: 8, 4, or 0 for a float one, as HeadQuantizer does it.
  int head_bits = 0;
  /// Kinds of sites that stay float: model::site_kind(), or what follows its last dot.
  std::vector<std::string> keep_float = {};
};

/// Recipe::head_bits where nothing else is asked for: 8 beside a method whose rows are codes of an
/// integer product; 0 beside rows that stay float or are multiplied in it.
/// @param options  JSON  @throws Error invalid_argument (METHOD_UNKNOWN, OPTION_…)
int head_bits_beside(const std::string& method, const std::string& options);

struct QuantizeRequest {
  std::filesystem::path output;
  Overwrite overwrite = Overwrite::refuse;
  Recipe recipe;
  std::optional<std::filesystem::path> calibration;  ///< text or JSONL
  CalibrationWindows windows;
  bool fit_windows = false;  ///< not longer than what the model was made for
  InvalidText invalid_text = InvalidText::refuse;
  std::optional<std::filesystem::path> load_calibration;  ///< instead of running the model
  std::optional<std::filesystem::path> save_calibration;
  bool restart = false;      ///< forget what an interrupted run has left
  std::string tool_version;  ///< for the report
};

/// Refuses an output that would replace the model that is read, with or without --force.
/// @throws Error invalid_argument (IO_PATH)
void refuse_source(const std::filesystem::path& output, const io::Checkpoint& checkpoint);

/// Refuses what is wrong with a request whatever the model is.
/// @throws Error invalid_argument: METHOD_UNKNOWN, OPTION_…, CALIBRATION_NEEDED,
/// CALIBRATION_CONFLICT,
///         SAMPLES, SEQLEN, FLOAT_DTYPE, HEAD_BITS
void validate(const QuantizeRequest& request);

/// Quantizes the linear layers of a model and writes a Hugging Face style directory, which appears
/// whole or not at all: weights, config.json, tokenizer files, tender_report.json, README.md.
///
/// Layer by layer, one in memory at a time. Whole layers are kept in a journal beside the output
/// until it is written (journal.h): the same call goes on after a kill and ends with the same
/// bytes.
///
/// Files depend on model, recipe, text and seed alone; times stand in the report only.
/// @throws Error as validate(), and invalid_argument (KEEP_FLOAT), invalid_input (Q_NONFINITE,
///         FLOAT_RANGE, Q_ALREADY, CANCELLED, CK_FINGERPRINT, RUN_OTHER), io (IO_…, RUN_BUSY),
///         those of reading the model and the text
Report quantize(const io::Checkpoint& checkpoint, const QuantizeRequest& request, Isa isa,
                ThreadPool& pool, Progress& progress);

}  // namespace tender::compress
