#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::model {

class Decoder;

/// Which layers of a model are in memory.
enum class Residency : std::uint8_t {
  all,        ///< from loading on
  one_layer,  ///< the one that was entered; the weights are read when it is
};

/// How a model is loaded.
struct Loading {
  Isa isa = Isa::scalar;
  Residency residency = Residency::all;
  ThreadPool* pool = nullptr;  ///< rearranges sites at the same time; may be null
  Progress& progress;
};

/// How Hugging Face calls a family of models.
struct HfName {
  std::string_view model_type;    ///< in config.json: "mistral"
  std::string_view causal_class;  ///< in its list `architectures`: "MistralForCausalLM"
};

/// How GGUF calls it.
struct GgufName {
  std::string_view architecture;  ///< value of general.architecture
  /// Rows of q and k are stored with the two halves of a rotary pair side by side
  /// (checkpoints 6.4).
  bool interleaved_rotary = false;
};

/// An architecture as a value; the list of them stands in archs.h.
///
/// A GGUF file is first put into the words of config.json, so that only one reader knows what the
/// settings mean, and `convert` has the file it must write.
struct Architecture {
  std::string_view name;
  std::span<const HfName> hf;
  std::span<const GgufName> gguf;

  /// config.json of an equal Hugging Face directory. @throws Error (GG_KEY_MISSING, GG_PARAM)
  OrderedJson (*config_of_gguf)(const io::Checkpoint& checkpoint);
  /// What the settings say. @param file  for messages. @throws Error corrupt_file (HF_PARAM),
  /// unsupported (ARCH_FEATURE)
  ModelSpec (*spec)(const Json& config, const std::string& file);
  std::unique_ptr<Decoder> (*load)(const ModelSpec& spec, const WeightReader& weights,
                                   const Loading& loading);
};

/// The checkpoint in messages: the last part of its path, also where that ends in a slash.
std::string name_of(const io::Checkpoint& checkpoint);

/// The architecture of a checkpoint. @throws Error unsupported (ARCH_UNSUPPORTED)
const Architecture& architecture_of(const io::Checkpoint& checkpoint);

}  // namespace tender::model
