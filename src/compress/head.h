#pragma once

#include <memory>
#include <string>

#include "base/cpu.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "compress/report.h"
#include "compress/stored_parts.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {

/// Quantizes the LM head, with the whole matrix in float32 in memory, in Tender's one-row mode: a
/// scale per output; at 4 bits rows and weights rotated and a multiplier per 32 inputs. Weights of
/// 4 bits make up for their rounding (GPTQ) where rows were seen; without rows, and at 8 bits, they
/// are rounded to nearest.
class HeadQuantizer {
 public:
  /// Whether rows that enter the head make it better.
  static bool wants_rows(int bits) { return bits == 4; }

  /// @param bits  of its weights, 8 or 4
  /// @param sees_rows  whether observe() will be called; false where bits do not want it
  HeadQuantizer(const model::ModelSpec& spec, const model::WeightReader& weights, int bits,
                bool sees_rows);
  /// Rows behind the final norm.
  void observe(const Rows& rows, Isa isa, ThreadPool& pool);
  /// @param parts  takes what is stored of it
  LayerReport quantize(StoredParts& parts, ThreadPool& pool);
  /// How, as quantization_config's `layers` says it.
  OrderedJson config() const;

 private:
  const Matrix& matrix();

  const model::ModelSpec& spec_;
  const model::WeightReader& weights_;
  std::string options_;  ///< of the method, as JSON
  Matrix matrix_;        ///< empty until it is needed
  std::unique_ptr<quant::SiteQuantizer> quantizer_;
  bool settled_ = false;
};

}  // namespace tender::compress
