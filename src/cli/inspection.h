#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/kernel_choice.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::cli {

/// How much of a model is stored in one type.
struct TypeUse {
  DType type = DType::f32;
  std::uint64_t tensors = 0;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
};

struct FileSize {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;  ///< empty unless asked for
};

struct TokenizerFacts {
  std::string kind;
  std::size_t vocabulary = 0;
  /// Role, id and text: {"bos", 1, "<|im_start|>"}.
  struct Special {
    std::string role;
    std::int64_t id;
    std::string text;
  };
  std::vector<Special> special;
  bool adds_bos = false;
  bool adds_eos = false;
  bool has_chat_template = false;
};

/// What `tender inspect` says of a model: facts that are read or computed, no wording of places.
struct Inspection {
  std::string container;
  std::vector<FileSize> files;
  std::uint64_t file_bytes = 0;
  std::optional<model::ModelInfo> model;
  std::optional<model::AttentionBits> attention;  ///< nothing in float
  std::string architecture;   ///< as the file calls it, also where this build does not know it
  std::string model_problem;  ///< why there is no `model`, though there are tensors
  std::uint64_t parameters = 0;
  std::uint64_t tensor_bytes = 0;
  std::vector<TypeUse> types;                 ///< most bytes first
  std::string weights;                        ///< one sentence: "210 matrices from Q4_1, …"
  std::size_t quantized = 0;                  ///< matrices that a quantization method packed
  OrderedJson quantization;                   ///< quantization_config, or null
  std::vector<model::SiteDescription> sites;  ///< quantized ones, and how their rows are rounded
  std::vector<model::BlockSite> block_sites;  ///< how --weights packed runs a GGUF file
  std::optional<TokenizerFacts> tokenizer;
  std::string tokenizer_problem;
  OrderedJson metadata;  ///< keys and values; long arrays are {"count", "first"}
  std::vector<std::string> notes;
  std::optional<std::size_t> verified;  ///< tensors whose hashes were compared; 0: none are stored

  double bits_per_weight() const;
};

/// Reads and computes all but the hashes.
/// @throws Error as model::read_spec() where the settings of a known architecture are damaged
Inspection inspect_model(const io::Checkpoint& checkpoint);

/// Adds the SHA-256 of each file and compares the XXH3 of each stored tensor with
/// tender_report.json.
/// @throws Error corrupt_file (CK_CHECKSUM naming the tensor, CK_REPORT)
void verify(const io::Checkpoint& checkpoint, Inspection& inspection);

/// One sentence on the types of the weights. @param tied  whether the embedding is the head, too
std::string describe_weights(std::span<const TensorInfo> tensors, bool tied);

/// Every kernel of this build.
std::vector<KernelChoice> all_kernel_choices();

OrderedJson to_json(const Inspection& inspection, const io::Checkpoint& checkpoint);
std::string to_text(const Inspection& inspection, const io::Checkpoint& checkpoint);
OrderedJson to_json(const std::vector<KernelChoice>& kernels);
std::string to_text(const std::vector<KernelChoice>& kernels);

}  // namespace tender::cli
