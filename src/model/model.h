#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "kernels/attention_bits.h"
#include "quant/packed_site.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::kernels {
struct KvStatics;
}

namespace tender::model {

using TokenId = std::int32_t;
using kernels::AttentionBits;

/// What there is to say about a model of any architecture.
struct ModelInfo {
  std::string architecture;  ///< the name in model/archs.h: "llama", "opt"
  std::string model_type;    ///< as the config says: "mistral"
  std::size_t layers = 0;
  std::size_t width = 0;         ///< of the residual stream
  std::size_t intermediate = 0;  ///< of the MLP
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_width = 0;
  std::size_t vocabulary = 0;  ///< rows of the embedding
  std::size_t context = 0;     ///< longest sequence it was made for
  bool tied_head = false;
  std::uint64_t parameters = 0;  ///< each stored number once
};

/// One stored tensor of an architecture, under the name that Hugging Face gives it.
struct TensorSpec {
  std::string name;  ///< "model.layers.0.self_attn.q_proj.weight"
  std::string gguf;  ///< "blk.0.attn_q.weight"; empty where GGUF has none
  Shape shape;
  std::size_t rotary_heads = 0;  ///< > 0: GGUF keeps rotary pairs interleaved within so many heads
  bool optional = false;
};

/// Linear layers that read the same rows.
struct SiteSpec {
  std::string name;                  ///< "model.layers.0.self_attn.qkv"
  std::vector<std::string> linears;  ///< module paths; their weights are "<path>.weight"
  quant::SiteShape shape;
  /// Module path of the norm whose gain (and bias) its rows come out of, read by this site alone;
  /// empty where there is none.
  std::string norm{};
};

/// Name of the LM head where it stands for a site.
inline constexpr std::string_view kHeadSite = "lm_head";

/// What follows the layer's number in the name of a site: "self_attn.qkv".
std::string site_kind(std::string_view name);

/// A model before its weights are read: what `inspect`, `convert` and `quantize` work on.
struct ModelSpec {
  ModelInfo info;
  std::string
      config_json;  ///< config.json of an equal Hugging Face directory, no quantization_config
  std::vector<TensorSpec> tensors;
  std::vector<SiteSpec> sites;  ///< in order of evaluation, as many in each layer
  /// The LM head, "lm_head". It is quantized only where the checkpoint names it, with a method of
  /// its own; where it is tied, the embedding stays beside what was made of it.
  SiteSpec head;
  std::string head_weight;  ///< tensor that the head is: the embedding where they are tied

  /// Sites [first, end) are those of a layer.
  struct Range {
    std::size_t first;
    std::size_t end;
  };
  Range sites_of(std::size_t layer) const {
    const std::size_t each = sites.size() / info.layers;
    return {layer * each, (layer + 1) * each};
  }
  /// Where the MLP of a layer begins: behind q, k, v and the output of the attention, in every
  /// architecture.
  std::size_t first_mlp_site(std::size_t layer) const { return sites_of(layer).first + 2; }
};

/// Reads the configuration of a checkpoint. @throws Error unsupported (ARCH_UNSUPPORTED),
/// corrupt_file (HF_PARAM, GG_PARAM, GG_KEY_MISSING), invalid_input for a bare safetensors file
/// (MODEL_NO_CONFIG)
ModelSpec read_spec(const io::Checkpoint& checkpoint);

/// A site of a quantized checkpoint, from what its layers share; no weights are read.
struct SiteDescription {
  std::string name;
  std::string method;
  std::string rows;  ///< how its rows are rounded: "row-scaled, 8 groups"
};
/// All quantized sites in order of evaluation, the head last.
/// @throws Error as read_spec(), corrupt_file (QC_…, CK_PART_…) where a site is damaged
std::vector<SiteDescription> describe_sites(const io::Checkpoint& checkpoint,
                                            const ModelSpec& spec);

/// Bits of the attention of a quantized checkpoint; nothing where it is in float.
/// @throws Error corrupt_file (QC_KEY)
std::optional<AttentionBits> stored_attention_bits(const io::Checkpoint& checkpoint);

/// Bytes that a token takes in the KV cache, all layers together.
std::size_t cache_bytes_per_token(const ModelInfo& info, const std::optional<AttentionBits>& bits);

/// What becomes of weights that a file holds in blocks of 32 (GGUF's Q8_0, Q4_0 to
/// Q5_1, Q4_K to Q6_K).
enum class BlockWeights : std::uint8_t {
  dequantized,  ///< float32, as the definition of the format has them
  packed,       ///< multiplied without float32 between, rows in 8 bits and blocks of 32
};

/// Names of the tensors that are the weights of a site or of the head.
/// @param head_weight  ModelSpec::head_weight
std::vector<std::string> matrix_names(const SiteSpec& site, const std::string& head_weight);

/// How a site runs with BlockWeights::packed.
struct BlockSite {
  std::string name;
  std::string why;  ///< why it runs in float32 all the same: "Q3_K is not multiplied as stored"
};
/// All sites in order of evaluation, the head last; nothing for a checkpoint without such blocks.
/// No weights are read.
std::vector<BlockSite> block_sites(const io::Checkpoint& checkpoint, const ModelSpec& spec);
/// BlockSite::why of a site whose weights are stored in these types.
std::string why_not_packed(const std::vector<DType>& types);

/// The float tensors of a checkpoint under their Hugging Face names, rotary rows put back in order.
/// Opening checks that every tensor is there, has its shape and a type that we compute with, and
/// that there is none beside them (checkpoints H4, H7, H8, G6d; benign extras of 4.3 are ignored).
/// Weights of quantized linear layers are absent: their parts are checked by quant.
class WeightReader {
 public:
  /// @param pool  shares the work of checking what was stored where all of it is read next
  WeightReader(const io::Checkpoint& checkpoint, const ModelSpec& spec,
               BlockWeights blocks = BlockWeights::dequantized, ThreadPool* pool = nullptr);
  ~WeightReader();

  bool has(const std::string& name) const;
  /// The stored tensor, for its type and size.
  const TensorInfo& stored(const std::string& name) const;
  /// Rows [first, first + rows.rows()) as float32. A vector is one row.
  void read(const std::string& name, std::size_t first, MatrixView<float> rows) const;
  std::vector<float> vector(const std::string& name) const;
  Matrix matrix(const std::string& name) const;
  /// Tells the system that this tensor will not be read again soon.
  void release(const std::string& name) const;
  /// The same of all that packed() reads, or of the matrices of a float site.
  void release(const SiteSpec& site) const;
  /// Whether packed() gives the site: one that was quantized, or whose layers are all in blocks
  /// that are to stay packed.
  bool is_quantized(const SiteSpec& site) const;
  /// Whether packed() gives the weights that the file holds, in its own blocks.
  bool is_stored(const SiteSpec& site) const;
  /// Why a site whose blocks were to stay packed is in float32; empty for any other.
  std::string why_float(const SiteSpec& site) const;
  /// Reads the file until it is prepared; release() it after that. Several threads may read sites,
  /// each its own.
  std::unique_ptr<quant::PackedSite> packed(const SiteSpec& site) const;

  /// Nothing where attention is in float.
  std::optional<AttentionBits> attention_bits() const;
  /// Of all layers, or empty where attention was not calibrated.
  /// @throws Error corrupt_file (CK_PART_…, QC_RANGE)
  std::vector<kernels::KvStatics> kv_statics() const;

 private:
  std::unique_ptr<quant::PackedSite> site_of_file(const SiteSpec& site) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The KV cache of one sequence.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual std::size_t tokens() const = 0;
  virtual std::size_t capacity() const = 0;
  /// Forgets all tokens from `tokens` on.
  virtual void truncate(std::size_t tokens) = 0;
  virtual std::size_t bytes() const = 0;
};

/// Tokens to append to a sequence. Logits are wanted for tokens[logits_from …].
struct BatchItem {
  Sequence* sequence = nullptr;
  std::span<const TokenId> tokens;
  std::size_t logits_from = 0;
};

/// What enters the attention of a layer, of one sequence.
struct AttentionRows {
  MatrixView<const float> q;  ///< [tokens, heads * head_width], rotated
  MatrixView<const float> k;  ///< [tokens, kv_heads * head_width], rotated
  MatrixView<const float> v;  ///< of the same shape
};

/// What a sequence is taken through of a layer. Between the two stands the residual stream.
enum class LayerPart : std::uint8_t { whole, attention, mlp };

/// Sees the rows that enter each site, one sequence at a time, in order of evaluation.
class SiteObserver {
 public:
  virtual ~SiteObserver() = default;
  virtual void observe(std::size_t site, const Rows& rows) = 0;
  /// Between the first two sites of a layer.
  virtual void observe_attention(std::size_t layer, const AttentionRows& rows) {
    static_cast<void>(layer), static_cast<void>(rows);
  }
};

/// What may be asked of any checkpoint when it is loaded.
struct RunOptions {
  /// Attention in integers with a KV cache of so many bits, 8 or 4, whatever the checkpoint says.
  std::optional<int> kv_bits = std::nullopt;
  /// Of blocks in GGUF files; nothing: dequantized.
  std::optional<BlockWeights> weights = std::nullopt;
};
inline BlockWeights blocks_of(const RunOptions& options) {
  return options.weights.value_or(BlockWeights::dequantized);
}
/// @throws Error invalid_argument (KV_BITS)
void validate(const RunOptions& options);
/// Refuses what the checkpoint cannot do: packed where no site is in such blocks, dequantized where
/// a method of this tool has packed it. @throws Error invalid_argument (WEIGHTS)
void validate(const RunOptions& options, const io::Checkpoint& checkpoint, const ModelSpec& spec);
/// Whether any site is in blocks that can run packed.
bool has_block_weights(const io::Checkpoint& checkpoint, const ModelSpec& spec);

/// A model that runs. Immutable after loading; sequences carry all state.
///
/// Results of a token depend on its sequence alone: the same bits in any batch, for any number of
/// threads, in prefill and in decode, on any CPU.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;
  virtual std::span<const SiteSpec> sites() const = 0;
  virtual const quant::PackedSite& site(std::size_t index) const = 0;
  /// The head, if it is quantized; else null.
  virtual const quant::PackedSite* head() const = 0;
  /// @param context  most tokens it will ever hold
  /// @throws Error invalid_input (CONTEXT) above what the architecture can place (learned
  /// positions)
  virtual std::unique_ptr<Sequence> sequence(std::size_t context) const = 0;

  /// Appends each item's tokens to its sequence.
  /// @param hidden  resized to [wanted tokens of all items, width]: rows for logits()
  /// @throws Error invalid_input (TOKEN_ID, CONTEXT_FULL)
  virtual void forward(std::span<const BatchItem> batch, Matrix& hidden, ThreadPool& pool,
                       SiteObserver* observer = nullptr) const = 0;

  /// @param hidden  [tokens, width]   @param logits  [tokens, vocabulary]
  virtual void logits(MatrixView<const float> hidden, MatrixView<float> logits,
                      ThreadPool& pool) const = 0;

  /// Memory that the weights take, as loaded.
  virtual std::size_t resident_bytes() const = 0;
  /// Of attention in integers; nothing where it is in float.
  virtual std::optional<AttentionBits> attention_bits() const { return std::nullopt; }
};

/// Loads a model for the kernels of `isa`. @throws Error as read_spec, WeightReader and validate()
std::unique_ptr<Model> load_model(const io::Checkpoint& checkpoint, Isa isa, ThreadPool& pool,
                                  Progress& progress, const RunOptions& options = {});

/// A model of which one layer is in memory at a time; the rows between layers are the caller's. For
/// models that do not fit, and for calibration that quantizes as it goes.
///
/// Rows are those of Model::forward, bit for bit.
class LayerwiseModel {
 public:
  virtual ~LayerwiseModel() = default;
  virtual const ModelInfo& info() const = 0;
  /// Loads the sites of this layer as they are stored and forgets those of the layer before.
  virtual void enter(std::size_t layer) = 0;
  /// Takes the place of a site of the layer that was entered. @param packed  prepared
  virtual void replace(std::size_t site, std::unique_ptr<quant::PackedSite> packed) = 0;

  /// What enters the first layer. @param tokens  a whole sequence  @param rows  [tokens, width]
  /// @throws Error invalid_input (TOKEN_ID, CONTEXT)
  virtual void embed(std::span<const TokenId> tokens, MatrixView<float> rows,
                     ThreadPool& pool) const = 0;
  /// Takes a whole sequence through the layer that was entered, or a part of it, in place.
  /// @param until  ends the pass when the observer has seen the rows of this site, which is one of
  /// the part; `rows` are spoilt
  virtual void run(MatrixView<float> rows, ThreadPool& pool, SiteObserver* observer = nullptr,
                   std::optional<std::size_t> until = std::nullopt,
                   LayerPart part = LayerPart::whole) const = 0;
  /// A site of the layer that was entered.
  virtual const quant::PackedSite& site(std::size_t index) const = 0;
  /// The head, if it is quantized; else null.
  virtual const quant::PackedSite* head() const = 0;
  /// Memory of the weights that are there, the layer that was entered among them.
  virtual std::size_t resident_bytes() const = 0;
  /// Of attention in integers; nothing where it is in float.
  virtual std::optional<AttentionBits> attention_bits() const = 0;
  /// What stands between the last layer and the head, in place. @param rows  [tokens, width]
  virtual void finish(MatrixView<float> rows, ThreadPool& pool) const = 0;
  /// @param hidden  [tokens, width], finished  @param logits  [tokens, vocabulary]
  virtual void logits(MatrixView<const float> hidden, MatrixView<float> logits,
                      ThreadPool& pool) const = 0;
};

/// @param weights  of the same checkpoint, with blocks_of(options); outlives the result. @throws
/// Error as load_model()
std::unique_ptr<LayerwiseModel> load_layerwise(const io::Checkpoint& checkpoint,
                                               const ModelSpec& spec, const WeightReader& weights,
                                               Isa isa, Progress& progress,
                                               const RunOptions& options = {});

}  // namespace tender::model
