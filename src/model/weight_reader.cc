#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/contracts.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "io/checksums.h"
#include "io/listed.h"
#include "model/architecture.h"
#include "model/kv_statics.h"
#include "model/model.h"
#include "model/part_reader.h"
#include "model/quantization_config.h"
#include "quant/methods/gguf/gguf.h"
#include "quant/registry.h"

namespace tender::model {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kBody = "model.";
constexpr int kBlockRowBits = 8;  ///< of rows that meet blocks of a file

/// Tensors that say nothing the configuration does not say (checkpoints 4.3).
bool is_benign(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
         name.ends_with(".attn.masked_bias") || name == "rope_freqs.weight" ||
         name.ends_with(".attn_rot_embd.weight");
}

/// Integers are computable too, but no weight is one.
bool is_weight_type(DType type) {
  constexpr DType kIntegers[] = {DType::boolean, DType::u8,  DType::i8,  DType::i16, DType::u16,
                                 DType::i32,     DType::u32, DType::i64, DType::u64};
  return io::is_computable(type) && std::ranges::find(kIntegers, type) == std::end(kIntegers);
}

struct Entry {
  const TensorInfo* stored;
  std::size_t rotary_heads;
};

}  // namespace

struct WeightReader::Impl {
  const io::Checkpoint& checkpoint;
  std::map<std::string, Entry, std::less<>> entries;
  std::map<std::string, SiteMethod> quantized;
  BlockWeights blocks;
  std::optional<kernels::AttentionBits> attention;
  std::string head_weight;
  ModelInfo info;
  std::vector<std::string> kv_owners;  ///< by layer, where attention is in integers
  PartIndex parts;

  Impl(const io::Checkpoint& given, const ModelSpec& spec, BlockWeights of_blocks)
      : checkpoint(given),
        blocks(of_blocks),
        attention(stored_attention_bits(given)),
        head_weight(spec.head_weight),
        info(spec.info) {
    if (checkpoint.config() != nullptr)
      quantized = read_quantization_config(*checkpoint.config(), spec);
    for (std::size_t n = 0; attention && n < spec.info.layers; ++n)
      kv_owners.push_back(kv_owner(spec, n));
    std::set<std::string> packed;
    for (const SiteSpec& site : spec.sites)
      if (quantized.contains(site.name))
        for (const std::string& linear : site.linears) packed.insert(linear + ".weight");
    if (quantized.contains(spec.head.name) && !spec.info.tied_head) packed.insert(spec.head_weight);
    std::set<const TensorInfo*> claimed = claim(spec, packed);
    check_tied_head(spec, claimed);
    index_parts(spec, claimed);
    check_extras(claimed);
  }

  std::string code(std::string_view name) const {
    return (checkpoint.gguf() != nullptr ? "GG_" : "HF_") + std::string(name);
  }

  /// A tensor by the name its container gives it. Bodies saved without their head lack "model.".
  const TensorInfo* locate(const TensorSpec& tensor) const {
    const TensorSource& source = checkpoint.tensors();
    if (checkpoint.gguf() != nullptr)
      return tensor.gguf.empty() ? nullptr : source.find(tensor.gguf);
    if (const TensorInfo* found = source.find(tensor.name)) return found;
    if (!tensor.name.starts_with(kBody)) return nullptr;
    return source.find(std::string_view(tensor.name).substr(kBody.size()));
  }

  std::set<const TensorInfo*> claim(const ModelSpec& spec, const std::set<std::string>& packed) {
    std::set<const TensorInfo*> claimed;
    std::vector<std::string> missing;
    for (const TensorSpec& tensor : spec.tensors) {
      if (packed.contains(tensor.name)) continue;
      const TensorInfo* stored = locate(tensor);
      if (stored == nullptr) {
        if (!tensor.optional)
          missing.push_back(checkpoint.gguf() != nullptr ? tensor.gguf : tensor.name);
        continue;
      }
      check_form(tensor, *stored);
      claimed.insert(stored);
      entries.emplace(tensor.name,
                      Entry{stored, checkpoint.gguf() != nullptr ? tensor.rotary_heads : 0});
    }
    if (!missing.empty()) refuse_missing(missing);
    return claimed;
  }

  [[noreturn]] void refuse_missing(const std::vector<std::string>& missing) const {
    const bool head = missing.size() == 1 && missing.front() == kHead;
    fail(ErrorKind::corrupt_file,
         {.code = code("TENSOR_MISSING"),
          .file = name_of(checkpoint),
          .item = missing.front(),
          .found = fmt::format("{} missing", missing.size()),
          .expected = "all tensors that the configuration demands",
          .hint = head ? "the embedding is not tied (tie_word_embeddings is false), so the head "
                         "must be there"
                       : "the download is incomplete, or config.json belongs to another model"},
         "{} of the model's tensors {} missing: {}", missing.size(),
         missing.size() == 1 ? "is" : "are", io::listed(missing));
  }

  void check_form(const TensorSpec& tensor, const TensorInfo& stored) const {
    const std::string file = checkpoint.tensors().file_of(stored);
    if (stored.shape != tensor.shape) {
      const bool rows = stored.shape.size() == 2 && tensor.shape.size() == 2 &&
                        stored.shape[1] == tensor.shape[1] &&
                        (tensor.name.ends_with("embed_tokens.weight") || tensor.name == kHead);
      fail(ErrorKind::corrupt_file,
           {.code = rows && checkpoint.gguf() == nullptr ? "HF_VOCAB_ROWS" : code("TENSOR_SHAPE"),
            .file = file,
            .item = stored.name,
            .found = to_string(stored.shape),
            .expected = to_string(tensor.shape),
            .hint = rows ? "vocab_size must be the number of rows of the embedding"
                         : "the configuration belongs to another model"},
           "tensor {} has shape {}: expected {}", quote(stored.name), to_string(stored.shape),
           to_string(tensor.shape));
    }
    if (!is_weight_type(stored.type))
      fail(checkpoint.gguf() != nullptr ? ErrorKind::unsupported : ErrorKind::corrupt_file,
           {.code = code("TENSOR_DTYPE"),
            .file = file,
            .item = stored.name,
            .found = std::string(to_string(stored.type)),
            .expected = "a float type that this build computes with",
            .hint = "convert the model to F16, BF16 or F32 with the tool that made it"},
           "tensor {} is stored as {}, which this build cannot compute with", quote(stored.name),
           to_string(stored.type));
  }

  /// A head beside a tied embedding must be that embedding.
  void check_tied_head(const ModelSpec& spec, std::set<const TensorInfo*>& claimed) const {
    if (!spec.info.tied_head) return;
    const TensorInfo* head = checkpoint.tensors().find(kHead);
    if (head == nullptr) return;
    const TensorInfo& embedding = *claimed_embedding(spec);
    claimed.insert(head);
    bool equal = head->shape == embedding.shape && is_weight_type(head->type);
    if (equal && head->type == embedding.type)
      equal = std::memcmp(head->bytes.data(), embedding.bytes.data(), head->bytes.size()) == 0;
    else if (equal)
      equal = equal_rows(*head, embedding);
    if (equal) return;
    fail(ErrorKind::corrupt_file,
         {.code = "HF_TIED_CONFLICT",
          .file = checkpoint.tensors().file_of(*head),
          .item = std::string(kHead),
          .found = "other values than those of the embedding",
          .expected = "equal values, or tie_word_embeddings false",
          .hint = "set tie_word_embeddings to false if the head is really its own"},
         "config.json ties the head to the embedding, but {} differs from it", kHead);
  }

  const TensorInfo* claimed_embedding(const ModelSpec& spec) const {
    for (const TensorSpec& tensor : spec.tensors)
      if (tensor.name.ends_with("embed_tokens.weight")) return entries.at(tensor.name).stored;
    contract_violated("an architecture with a tied head has an embedding", __FILE__, __LINE__);
  }

  static bool equal_rows(const TensorInfo& a, const TensorInfo& b) {
    std::vector<float> x(a.shape[1]);
    std::vector<float> y(a.shape[1]);
    for (std::uint64_t row = 0; row < a.shape[0]; ++row) {
      io::rows_to_float32(a, row, 1, x);
      io::rows_to_float32(b, row, 1, y);
      if (std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) != 0) return false;
    }
    return true;
  }

  /// Whatever stands under the name of a quantized site, layer or attention is a part of it.
  void index_parts(const ModelSpec& spec, std::set<const TensorInfo*>& claimed) {
    std::set<std::string, std::less<>> owners;
    for (const SiteSpec& site : spec.sites)
      if (quantized.contains(site.name)) {
        owners.insert(site.name);
        owners.insert(site.linears.begin(), site.linears.end());
      }
    if (quantized.contains(spec.head.name)) owners.insert(spec.head.name);
    owners.insert(kv_owners.begin(), kv_owners.end());
    for (const TensorInfo& tensor : checkpoint.tensors().tensors()) {
      const auto dot = tensor.name.rfind('.');
      if (dot == std::string::npos || claimed.contains(&tensor)) continue;
      const std::string_view part = std::string_view(tensor.name).substr(dot + 1);
      const std::string_view owner = std::string_view(tensor.name).substr(0, dot);
      if (part == "weight" || part == "bias" || !owners.contains(owner)) continue;
      parts.add(owner, part, tensor);
      claimed.insert(&tensor);
    }
  }

  void check_extras(const std::set<const TensorInfo*>& claimed) const {
    std::vector<std::string> extras;
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      if (!claimed.contains(&tensor) && !is_benign(tensor.name)) extras.push_back(tensor.name);
    if (!extras.empty()) refuse_extra(extras);
  }

  [[noreturn]] void refuse_extra(const std::vector<std::string>& extras) const {
    fail(ErrorKind::corrupt_file,
         {.code = code("TENSOR_EXTRA"),
          .file = name_of(checkpoint),
          .item = extras.front(),
          .found = fmt::format("{} unexpected", extras.size()),
          .expected = "only tensors that the configuration demands",
          .hint = "the model has parts that its configuration does not name; leaving them out "
                  "would change it"},
         "{} {} no place in this architecture: {}", extras.size(),
         extras.size() == 1 ? "tensor has" : "tensors have", io::listed(extras));
  }

  bool wants_packed() const { return blocks == BlockWeights::packed; }

  std::string obstacle(const SiteSpec& site) const {
    std::vector<DType> types;
    for (const std::string& name : matrix_names(site, head_weight))
      types.push_back(at(name).stored->type);
    return why_not_packed(types);
  }

  bool stays_packed(const SiteSpec& site) const { return wants_packed() && obstacle(site).empty(); }

  const Entry& at(const std::string& name) const {
    const auto found = entries.find(name);
    require(found != entries.end(), "only tensors of the architecture are read");
    return found->second;
  }
};

WeightReader::WeightReader(const io::Checkpoint& checkpoint, const ModelSpec& spec,
                           BlockWeights blocks, ThreadPool* pool)
    : impl_(std::make_unique<Impl>(checkpoint, spec, blocks)) {
  // A flipped bit of a code would change answers without a word.
  if (checkpoint.config() != nullptr && checkpoint.config()->contains("quantization_config"))
    io::verify_checksums(checkpoint, pool);
}
WeightReader::~WeightReader() = default;

bool WeightReader::has(const std::string& name) const { return impl_->entries.contains(name); }
const TensorInfo& WeightReader::stored(const std::string& name) const {
  return *impl_->at(name).stored;
}
void WeightReader::release(const std::string& name) const {
  MappedFile::release(stored(name).bytes);
}

void WeightReader::release(const SiteSpec& site) const {
  if (impl_->quantized.contains(site.name)) {
    impl_->parts.release(site.name);
    for (const std::string& linear : site.linears) impl_->parts.release(linear);
    return;
  }
  for (const std::string& name : matrix_names(site, impl_->head_weight)) release(name);
}

namespace {

/// Where a row of Hugging Face's order stands in a file with interleaved pairs: of head h, row
/// j * d/2 + i is row 2i + j there, j in {0, 1} (checkpoints 6.4).
std::uint64_t interleaved_row(std::uint64_t row, std::uint64_t head_width) {
  const std::uint64_t within = row % head_width;
  return row - within + 2 * (within % (head_width / 2)) + within / (head_width / 2);
}

}  // namespace

void WeightReader::read(const std::string& name, std::size_t first, MatrixView<float> rows) const {
  const Entry& entry = impl_->at(name);
  const TensorInfo& tensor = *entry.stored;
  const bool vector = tensor.shape.size() == 1;
  const std::uint64_t height = vector ? 1 : tensor.shape[0];
  require(rows.cols() == tensor.shape.back() && first + rows.rows() <= height,
          "rows lie inside the tensor");
  if (entry.rotary_heads == 0) {
    if (rows.stride() == rows.cols()) {
      io::rows_to_float32(tensor, first, rows.rows(), {rows.data(), rows.rows() * rows.cols()});
      return;
    }
    for (std::size_t r = 0; r < rows.rows(); ++r)
      io::rows_to_float32(tensor, first + r, 1, rows.row(r));
    return;
  }
  const std::uint64_t head_width = tensor.shape[0] / entry.rotary_heads;
  if (!vector) {
    for (std::size_t r = 0; r < rows.rows(); ++r)
      io::rows_to_float32(tensor, interleaved_row(first + r, head_width), 1, rows.row(r));
    return;
  }
  std::vector<float> stored(tensor.shape[0]);
  io::to_float32(tensor, stored);
  for (std::size_t i = 0; i < rows.rows() * rows.cols(); ++i)
    rows(0, i) = stored[interleaved_row(i, head_width)];
}

std::vector<float> WeightReader::vector(const std::string& name) const {
  std::vector<float> values(stored(name).elements());
  read(name, 0, MatrixView<float>(values.data(), 1, values.size()));
  return values;
}

Matrix WeightReader::matrix(const std::string& name) const {
  const Shape& shape = stored(name).shape;
  Matrix values(shape.size() == 1 ? 1 : shape[0], shape.back());
  read(name, 0, values.view());
  return values;
}

bool WeightReader::is_quantized(const SiteSpec& site) const {
  return impl_->quantized.contains(site.name) || impl_->stays_packed(site);
}

bool WeightReader::is_stored(const SiteSpec& site) const {
  return !impl_->quantized.contains(site.name) && impl_->stays_packed(site);
}

std::string WeightReader::why_float(const SiteSpec& site) const {
  return impl_->wants_packed() ? impl_->obstacle(site) : "";
}

std::optional<kernels::AttentionBits> WeightReader::attention_bits() const {
  return impl_->attention;
}

std::vector<kernels::KvStatics> WeightReader::kv_statics() const {
  const auto has_parts = [&](const std::string& owner) {
    return !impl_->parts.names(owner).empty();
  };
  std::vector<kernels::KvStatics> layers;
  if (std::ranges::none_of(impl_->kv_owners, has_parts)) return layers;
  for (const std::string& owner : impl_->kv_owners) {
    layers.push_back(read_kv_statics(PartReader(impl_->parts, owner), impl_->info));
    if (const auto unread = impl_->parts.never_read(owner); !unread.empty())
      impl_->refuse_extra(unread);
  }
  return layers;
}

std::unique_ptr<quant::PackedSite> WeightReader::packed(const SiteSpec& site) const {
  require(is_quantized(site), "only quantized sites are packed");
  if (!impl_->quantized.contains(site.name)) return site_of_file(site);
  const std::string& method = impl_->quantized.at(site.name).method;
  auto packed =
      load_packed(quant::method_of_checkpoint(method, "config.json"), impl_->parts, site, "");

  std::vector<std::string> unread = impl_->parts.never_read(site.name);
  for (const std::string& linear : site.linears)
    for (std::string& name : impl_->parts.never_read(linear)) unread.push_back(std::move(name));
  if (!unread.empty()) impl_->refuse_extra(unread);

  require(packed->linears() == site.linears.size(), "a method loads every layer of a site");
  for (std::size_t l = 0; l < site.linears.size(); ++l)
    if (const LinearShape expected{site.shape.outs[l], site.shape.in}; packed->shape(l) != expected)
      fail(ErrorKind::corrupt_file,
           {.code = "CK_PART_SHAPE",
            .item = site.linears[l],
            .found = fmt::format("[{}, {}]", packed->shape(l).out, packed->shape(l).in),
            .expected = fmt::format("[{}, {}]", expected.out, expected.in),
            .hint = "the checkpoint is damaged; quantize again"},
           "{} is packed as [{}, {}]: expected [{}, {}]", site.linears[l], packed->shape(l).out,
           packed->shape(l).in, expected.out, expected.in);
  return packed;
}

std::unique_ptr<quant::PackedSite> WeightReader::site_of_file(const SiteSpec& site) const {
  std::vector<quant::BlockMatrix> layers;
  for (const std::string& name : matrix_names(site, impl_->head_weight)) {
    const Entry& entry = impl_->at(name);
    const TensorInfo& tensor = *entry.stored;
    const std::size_t each = tensor.bytes.size() / tensor.shape[0];
    std::vector<const std::byte*> rows;
    rows.reserve(tensor.shape[0]);
    for (std::uint64_t row = 0; row < tensor.shape[0]; ++row)
      rows.push_back(tensor.bytes.data() +
                     each * (entry.rotary_heads == 0
                                 ? row
                                 : interleaved_row(row, tensor.shape[0] / entry.rotary_heads)));
    layers.emplace_back(*quant::find_block_type(tensor.type),
                        LinearShape{tensor.shape[0], tensor.shape[1]}, std::move(rows));
  }
  return quant::site_of_blocks(std::move(layers), kBlockRowBits);
}

bool has_block_weights(const io::Checkpoint& checkpoint, const ModelSpec& spec) {
  return std::ranges::any_of(block_sites(checkpoint, spec),
                             [](const BlockSite& site) { return site.why.empty(); });
}

}  // namespace tender::model
