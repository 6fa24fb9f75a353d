#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/rope/rope.h"
#include "model/model.h"

namespace tender::model {

/// The settings of a model of the Llama family, checked.
struct LlamaConfig {
  std::string model_type;  ///< "llama", "mistral" or "qwen2"
  std::size_t layers = 0;
  std::size_t width = 0;
  std::size_t intermediate = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_width = 0;
  std::size_t vocabulary = 0;
  std::size_t context = 0;
  double norm_epsilon = 0;
  kernels::RopeParameters rope;
  bool tied_head = false;
  bool qkv_bias = false;
  bool output_bias = false;  ///< of o_proj
  bool mlp_bias = false;
  std::vector<std::size_t>
      windows;  ///< per layer: keys that a query sees, itself included; 0 = all
};

/// @throws Error corrupt_file (HF_PARAM), unsupported (ARCH_FEATURE)
LlamaConfig read_llama_config(const Json& config, const std::string& file);

/// Tensors and sites in Hugging Face's names and GGUF's.
ModelSpec llama_spec(const Json& config, const std::string& file);

/// config.json in place of the metadata of a GGUF file.
OrderedJson llama_config_of_gguf(const io::Checkpoint& checkpoint);

/// Module paths of layer `n`, also the names of its sites.
struct LlamaNames {
  explicit LlamaNames(std::size_t n);
  std::string layer, qkv, q, k, v, output, gate_up, gate, up, down;
};

}  // namespace tender::model
