#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "compress/attention_ranges.h"
#include "compress/calibration.h"
#include "compress/calibration_text.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {

/// A site that was quantized, on its way to whoever keeps it.
struct QuantizedSite {
  std::size_t index;  ///< in ModelSpec::sites
  const quant::PackedSite& packed;
  std::span<const MatrixView<const float>> weights;  ///< as they were, one per layer of the site
  const SampleRows& sample;                          ///< rows that entered it
  double seconds;                                    ///< that choosing the codes took
};

/// Keeps what a pipeline makes, and may have some of it already.
class SiteKeeper {
 public:
  virtual ~SiteKeeper() = default;
  /// Whether a site is to be quantized; else it stays float and nothing is kept of it.
  virtual bool wants(std::size_t site) const {
    static_cast<void>(site);
    return true;
  }
  /// Whether all sites of a layer are there from a run that was interrupted.
  virtual bool has(std::size_t layer) const {
    static_cast<void>(layer);
    return false;
  }
  /// Such a site, as stored.
  virtual std::unique_ptr<quant::PackedSite> load(std::size_t site) const {
    static_cast<void>(site);
    return nullptr;
  }
  /// What calibration has seen at a site, before it is used.
  virtual void keep_calibration(std::size_t site, const quant::SiteQuantizer& seen) {
    static_cast<void>(site), static_cast<void>(seen);
  }
  /// As stored: it can be saved and dequantized.
  virtual void keep(const QuantizedSite& site) = 0;
  /// Afterwards, prepared, where rows were seen: it can multiply them.
  virtual void measure(const QuantizedSite& site) { static_cast<void>(site); }
  /// Whether it wants what the attention of each layer reaches.
  virtual bool wants_attention() const { return false; }
  /// That, where rows were seen or stored.
  virtual void keep_attention(std::size_t layer, const AttentionRanges& ranges) {
    static_cast<void>(layer), static_cast<void>(ranges);
  }
  /// Whether it wants the rows that enter the head.
  virtual bool wants_head_rows() const { return false; }
  /// Those of a window, where rows were seen, after the last layer.
  virtual void observe_head(const Rows& rows) { static_cast<void>(rows); }
  /// All sites of this layer were kept.
  virtual void end_layer(std::size_t layer) { static_cast<void>(layer); }
};

/// Quantizes the sites of a model, layer by layer; one layer is in memory at a time.
///
/// A method that looks at weights alone runs nothing, unless the keeper wants rows. One that wants
/// ranges sees, at every site, the rows of the float model. One that wants the second moment goes
/// in order: the rows of a site come out of sites that are quantized already, once for the ranges
/// and once, rounded, for the moment, so that each site makes up for the errors before it (Frantar
/// et al. 2022, GPTQ). Once the sites of the attention are quantized the rows move behind it, and
/// passes that look at the MLP begin there. The rows of the head are those that come out of the
/// last layer then: of the float model, or in order of the quantized one.
class SitePipeline {
 public:
  /// All arguments outlive it. @param options  of the method, as JSON
  SitePipeline(const io::Checkpoint& checkpoint, const model::ModelSpec& spec,
               const model::WeightReader& weights, const quant::MethodEntry& method,
               const std::string& options, Isa isa, ThreadPool& pool, Progress& progress);
  ~SitePipeline();

  /// @param text    whose windows the model sees; null where neither method nor keeper wants any
  /// @param stored  ranges of an earlier calibration, in place of looking for them; or null
  /// @throws Error invalid_input (CANCELLED, Q_…)
  void run(const CalibrationText* text, const StoredCalibration* stored, SiteKeeper& keeper);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tender::compress
