#pragma once

#include <cstddef>
#include <string>

#include "base/json.h"
#include "model/model.h"

namespace tender::model {

/// The settings of an OPT model, checked.
struct OptConfig {
  std::size_t layers = 0;
  std::size_t width = 0;
  std::size_t intermediate = 0;
  std::size_t heads = 0;
  std::size_t vocabulary = 0;
  std::size_t context = 0;
  std::size_t embedding_width = 0;  ///< other than width: projections on both ends (350M)
  bool norm_before = true;          ///< of each block, else after its residual addition (350M)
  bool final_norm = true;
  bool norm_weights = true;
  bool bias = true;
  bool tied_head = true;
};

/// Rows of the position table before the one of position 0.
constexpr std::size_t kOptPositionOffset = 2;

/// @throws Error corrupt_file (HF_PARAM), unsupported (ARCH_FEATURE)
OptConfig read_opt_config(const Json& config, const std::string& file);
ModelSpec opt_spec(const Json& config, const std::string& file);

/// Module paths of layer `n`, also the names of its sites.
struct OptNames {
  explicit OptNames(std::size_t n);
  std::string layer, qkv, q, k, v, output, fc1, fc2, attention_norm, mlp_norm;
};
inline const std::string kOptDecoder = "model.decoder";

}  // namespace tender::model
