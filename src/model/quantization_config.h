#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/json.h"
#include "kernels/attention_bits.h"
#include "model/model.h"

namespace tender::model {

/// How one site was quantized.
struct SiteMethod {
  std::string method;   ///< "tender"
  std::string options;  ///< as JSON; the parts in the file hold all that is needed to run
  friend bool operator==(const SiteMethod&, const SiteMethod&) = default;
};

/// quantization_config of one of our own checkpoints, held against the sites of the model.
///
///     { "quant_method": "tender", "format_version": 1, "options": {…},
///       "layers": { "<site or module>": { "method": "rtn", …options } }, "ignore": ["<site or
///       module>"] }
///
/// The head, "lm_head", is quantized only if `layers` names it.
///
/// @return site name → method, for the sites that are quantized; empty if the config has no such
/// key
/// @throws Error unsupported (QC_METHOD, CK_VERSION), corrupt_file (QC_KEY)
std::map<std::string, SiteMethod> read_quantization_config(const Json& config,
                                                           const ModelSpec& spec);

/// Its entry "attention": {"bits": 8 or 4, "kv_bits": 8 or 4}, if there is one.
/// @throws Error corrupt_file (QC_KEY)
std::optional<kernels::AttentionBits> read_attention_config(const Json& config);

}  // namespace tender::model
