#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "compress/calibration_text.h"
#include "io/checkpoint.h"

namespace tender::compress {

/// How many of the values that enter the sites of one kind would get the code 0 from symmetric
/// rounding to nearest: what a few loud channels do to all others.
struct ZeroCodes {
  std::string kind;  ///< "self_attn.qkv", of all layers together
  std::uint64_t values = 0;
  /// With one step for all rows of a site, its largest |x| over the text divided by 2^(bits-1) - 1.
  std::uint64_t per_tensor_8 = 0, per_tensor_4 = 0;
  /// With a step for each row.
  std::uint64_t per_row_8 = 0, per_row_4 = 0;

  double share(std::uint64_t zeros) const {
    return static_cast<double>(zeros) / static_cast<double>(values);
  }
};

/// Runs the text through the model, layer by layer, each layer twice: for the ranges, then to
/// count.
/// @return one for each kind of site, in order of evaluation
/// @throws Error as model::load_layerwise(); CANCELLED
std::vector<ZeroCodes> count_zero_codes(const io::Checkpoint& checkpoint,
                                        const CalibrationText& text, Isa isa, ThreadPool& pool,
                                        Progress& progress);

}  // namespace tender::compress
