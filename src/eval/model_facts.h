#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::eval {

/// What there is to say of a site that was loaded.
struct SiteFacts {
  std::string kind;  ///< what follows the layer's number in its name: "self_attn.qkv"
  std::string method;
  std::string kernel;
  std::uint64_t bytes = 0;  ///< PackedSite::bytes()
  double activation_bits = 0;
  quant::SiteCounts counts{};  ///< of the runs so far
};
SiteFacts facts_of(const model::SiteSpec& spec, const quant::PackedSite& site);
SiteFacts head_facts(const quant::PackedSite& head);

/// What there is to say of a model that was loaded.
struct ModelFacts {
  model::ModelInfo info;
  std::vector<SiteFacts> sites;                     ///< in order of evaluation
  std::optional<SiteFacts> head{};                  ///< where it is quantized
  std::uint64_t resident_bytes = 0;                 ///< weights in memory, at their highest
  bool layerwise = false;                           ///< one layer was in memory at a time
  std::optional<model::AttentionBits> attention{};  ///< nothing: in float
};
ModelFacts facts_of(const model::Model& model);

/// The methods of a model's sites, "float" if none is quantized; "rtn, tender" where they differ.
std::string method_of(const ModelFacts& facts);

/// How weights are in memory as they are multiplied: "packed" in the bits of their method (perhaps
/// with "head in float32"), "dequantized" to float32 whatever the file holds, or both.
std::string weights_of(const ModelFacts& facts);

/// The kernels by kind of site ("self_attn.qkv": "i8 panels, vnni"), in order of evaluation;
/// several of one kind are joined by "; ".
OrderedJson kernels_of(const ModelFacts& facts);

/// "float", or "8 bits, KV cache 4 bits": from model_facts()'s `attention`.
std::string attention_text(const OrderedJson& attention);

/// What calibrated ranges have met, by kind of site: `rows`, `values`, `clipped`, `beyond` (rows
/// past the calibrated positions). Kinds without such ranges are left out.
OrderedJson counts_of(const ModelFacts& facts);
/// The same in one line for people, or nothing where no site has such ranges.
std::string counts_line(const ModelFacts& facts);
/// The same of what counts_of() gave.
std::string counts_line(const OrderedJson& counts);

/// What a model costs, as its checkpoint stores it.
struct ModelSize {
  std::uint64_t file_bytes = 0;      ///< of all its files
  double bits_per_weight = 0;        ///< of its linear layers, all their parts and what sites share
  double head_bits_per_weight = 0;   ///< of the LM head, which bits_per_weight leaves out
  double bits_per_weight_model = 0;  ///< all stored tensors over all parameters
  /// Of the rows that enter its linear layers, weighted by their widths: PackedSite's
  /// activation_bits().
  double bits_per_activation = 0;
};
ModelSize size_of(const io::Checkpoint& checkpoint, const ModelFacts& facts);
/// Its fields as keys.
OrderedJson to_json(const ModelSize& size);

/// The part of add_facts() that belongs to the model: `model`, `method`, `weights`, `attention`
/// (null in float, or `bits` and `kv_bits`), `cache_bytes_per_token`, `kernels`.
OrderedJson model_facts(const ModelFacts& facts, const std::string& name);
/// The part that belongs to the machine: `threads`, `cpu`, `isa`, `peak_rss_bytes`.
OrderedJson machine_facts(const ThreadPool& pool);

/// What every measured number is reported with: `model` (name, architecture, parameters, weight
/// bytes), `method`, `kernels`, `threads`, `cpu`, `isa`, `peak_rss_bytes`.
/// @param name  of the model for people
void add_facts(const ModelFacts& facts, const std::string& name, const ThreadPool& pool,
               OrderedJson& json);

}  // namespace tender::eval
