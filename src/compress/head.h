#pragma once

#include "base/json.h"
#include "base/thread_pool.h"
#include "compress/report.h"
#include "compress/stored_parts.h"
#include "model/model.h"

namespace tender::compress {

/// How the LM head is quantized, as quantization_config's `layers` says it: Tender's one-row mode,
/// weights rounded to nearest, a scale per output and at 4 bits a multiplier per 64 inputs.
/// @param bits  of its weights, 8 or 4
OrderedJson head_config(int bits);

/// Quantizes the LM head that way, with the whole matrix in float32 in memory; needs no
/// calibration.
/// @param parts  takes what is stored of it
LayerReport quantize_head(const model::ModelSpec& spec, const model::WeightReader& weights,
                          int bits, StoredParts& parts, ThreadPool& pool);

}  // namespace tender::compress
