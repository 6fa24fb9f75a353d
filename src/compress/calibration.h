#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/output.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "compress/calibration_text.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {

/// A few of the rows that entered a site, to measure on what quantizing costs.
struct SampleRows {
  Matrix values;                        ///< [rows, in], the first `rows` filled
  std::vector<std::int32_t> positions;  ///< [rows]
};

/// What calibration knows of every site of a model: one quantizer each, and some of the rows.
class Calibration {
 public:
  /// @param options  of the method, as JSON
  Calibration(const quant::MethodEntry& method, const std::string& options,
              const model::ModelSpec& spec);

  /// Runs the float model over the windows, each a sequence of its own.
  /// @throws Error invalid_input (CANCELLED)
  void observe(const model::Model& model, const CalibrationText& text, ThreadPool& pool,
               Progress& progress);

  std::size_t sites() const { return quantizers_.size(); }
  quant::SiteQuantizer& quantizer(std::size_t site) { return *quantizers_[site]; }
  const quant::SiteQuantizer& quantizer(std::size_t site) const { return *quantizers_[site]; }
  /// No rows where nothing was observed.
  const SampleRows& sample(std::size_t site) const { return samples_[site]; }
  /// Frees what is kept of a site.
  void forget(std::size_t site);

 private:
  std::vector<std::unique_ptr<quant::SiteQuantizer>> quantizers_;
  std::vector<SampleRows> samples_;
};

/// What a stored calibration belongs to, by name: "model", "method", "text", "seqlen", … → value.
using Fingerprint = std::map<std::string, std::string>;

/// Stores the calibration of all sites as a safetensors file that appears whole or not at all.
void save_calibration(const std::filesystem::path& path, Overwrite overwrite,
                      const Calibration& calibration, const Fingerprint& fingerprint,
                      const model::ModelSpec& spec);

/// Fills the quantizers from such a file.
/// @param expected  what must be equal where it is named
/// @return the fingerprint of the file
/// @throws Error corrupt_file (CK_…, ST_…), invalid_input (CK_FINGERPRINT, showing the difference)
Fingerprint load_calibration(const std::filesystem::path& path, const Fingerprint& expected,
                             const model::ModelSpec& spec, Calibration& calibration);

}  // namespace tender::compress
