#include "cli/inspection.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/cpu.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "io/checksums.h"
#include "kernels/float_kernels.h"
#include "quant/registry.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

/// A value of metadata; of a long array only the beginning.
struct Shortened {
  static constexpr std::size_t kShown = 8;

  template <class T>
  OrderedJson operator()(const T& value) const {
    return value;
  }
  template <class T>
  OrderedJson operator()(const std::vector<T>& values) const {
    if (values.size() <= kShown) return values;
    const auto end = values.begin() + static_cast<std::ptrdiff_t>(kShown);
    return {{"count", values.size()}, {"first", std::vector<T>(values.begin(), end)}};
  }
};

OrderedJson metadata_of(const io::Checkpoint& checkpoint) {
  OrderedJson found = OrderedJson::object();
  // Appended, not looked up: a file may have 10^6 keys, and they are unique.
  auto& members = found.get_ref<OrderedJson::object_t&>();
  if (checkpoint.gguf() != nullptr) {
    for (const auto& [key, value] : checkpoint.gguf()->all())
      members.push_back({key, std::visit(Shortened(), value.value)});
  } else if (checkpoint.config() != nullptr) {
    for (const auto& [key, value] : checkpoint.config()->items()) members.push_back({key, value});
  } else if (checkpoint.header_metadata() != nullptr) {
    for (const auto& [key, value] : *checkpoint.header_metadata()) members.push_back({key, value});
  }
  return found;
}

std::vector<FileSize> files_of(const io::Checkpoint& checkpoint) {
  std::vector<FileSize> files;
  for (const std::filesystem::path& path : checkpoint.files())
    files.push_back({path.filename().string(), std::filesystem::file_size(path), ""});
  return files;
}

std::vector<TypeUse> types_of(std::span<const TensorInfo> tensors) {
  std::map<DType, TypeUse> uses;
  for (const TensorInfo& tensor : tensors) {
    TypeUse& use = uses[tensor.type];
    use.type = tensor.type;
    ++use.tensors;
    use.elements += tensor.elements();
    use.bytes += tensor.bytes.size();
  }
  std::vector<TypeUse> list;
  for (const auto& [type, use] : uses) list.push_back(use);
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return list;
}

std::string architecture_of(const io::Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) {
    const std::string* name = checkpoint.gguf()->find_string("general.architecture");
    return name == nullptr ? "" : *name;
  }
  if (checkpoint.config() == nullptr) return "";
  const auto type = checkpoint.config()->find("model_type");
  return type != checkpoint.config()->end() && type->is_string() ? type->get<std::string>() : "";
}

/// Whether the file claims to be a model at all: imatrix files and adapters are GGUF files, too.
bool is_model(const io::Checkpoint& checkpoint) {
  if (checkpoint.tensors().tensors().empty()) return false;
  if (checkpoint.gguf() == nullptr) return true;
  const std::string* type = checkpoint.gguf()->find_string("general.type");
  return type == nullptr || *type == "model";
}

/// Linear layers of which other parts are stored than their weight.
std::size_t quantized_matrices(const io::Checkpoint& checkpoint, const model::ModelSpec& spec) {
  if (checkpoint.config() == nullptr || !checkpoint.config()->contains("quantization_config"))
    return 0;
  std::size_t count = 0;
  for (const model::SiteSpec& site : spec.sites)
    for (const std::string& linear : site.linears)
      count += checkpoint.tensors().find(linear + ".weight") == nullptr ? 1U : 0U;
  return count;
}

void read_model(const io::Checkpoint& checkpoint, Inspection& inspection) {
  if (!is_model(checkpoint)) return;
  try {
    const model::ModelSpec spec = model::read_spec(checkpoint);
    inspection.model = spec.info;
    inspection.quantized = quantized_matrices(checkpoint, spec);
    inspection.sites = model::describe_sites(checkpoint, spec);
    inspection.block_sites = model::block_sites(checkpoint, spec);
    inspection.attention = model::stored_attention_bits(checkpoint);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::corrupt_file) throw;
    inspection.model_problem =
        error.sentence();  // another architecture, or a file without settings
  }
}

TokenizerFacts facts_of(const text::Tokenizer& tokenizer) {
  TokenizerFacts facts;
  facts.kind = tokenizer.kind();
  facts.vocabulary = tokenizer.vocabulary();
  const text::SpecialTokens& special = tokenizer.special();
  const auto add = [&](const char* role, const std::optional<text::TokenId>& id) {
    if (id) facts.special.push_back({role, *id, tokenizer.decode(std::span(&*id, 1))});
  };
  add("bos", special.bos);
  add("eos", special.eos);
  add("unknown", special.unknown);
  add("padding", special.padding);
  for (const text::TokenId id : special.end_of_text)
    if (id != special.eos) add("end", id);
  facts.adds_bos = special.adds_bos;
  facts.adds_eos = special.adds_eos;
  facts.has_chat_template = !tokenizer.chat_template().empty();
  return facts;
}

void read_tokenizer(const io::Checkpoint& checkpoint, Inspection& inspection) {
  try {
    inspection.tokenizer = facts_of(*text::open_tokenizer(checkpoint));
  } catch (
      const Error& error) {  // the vocabulary is checked where it is used; here it is described
    if (error.code() != "TK_MISSING") inspection.tokenizer_problem = error.sentence();
  }
}

/// Where the tensor stands in a model, as far as its name tells.
enum class Role : std::uint8_t { matrix, embedding, head, vector };

Role role_of(const TensorInfo& tensor) {
  if (tensor.shape.size() < 2) return Role::vector;
  constexpr std::array<std::string_view, 5> kEmbeddings = {
      "token_embd.weight", "embed_tokens.weight", "wte.weight", "word_embeddings.weight",
      "embed_in.weight"};
  constexpr std::array<std::string_view, 2> kHeads = {"lm_head.weight", "embed_out.weight"};
  const auto ends = [&](std::string_view end) { return tensor.name.ends_with(end); };
  if (std::any_of(kEmbeddings.begin(), kEmbeddings.end(), ends)) return Role::embedding;
  if (tensor.name == "output.weight" || std::any_of(kHeads.begin(), kHeads.end(), ends))
    return Role::head;
  return Role::matrix;
}

}  // namespace

double Inspection::bits_per_weight() const {
  return parameters == 0
             ? 0.0
             : 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters);
}

std::string describe_weights(std::span<const TensorInfo> tensors, bool tied) {
  std::map<Role, std::map<DType, std::size_t>> counts;
  for (const TensorInfo& tensor : tensors) ++counts[role_of(tensor)][tensor.type];
  std::string sentence;
  for (const auto& [role, types] : counts) {
    std::vector<std::pair<std::size_t, DType>> order;
    for (const auto& [type, count] : types) order.emplace_back(count, type);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (const auto& [count, type] : order) {
      std::string what = fmt::format("{} {}", count, count == 1 ? "matrix" : "matrices");
      if (role == Role::vector) what = fmt::format("{} vector{}", count, count == 1 ? "" : "s");
      if (role == Role::embedding) what = tied ? "the tied embedding" : "the embedding";
      if (role == Role::head) what = "the head";
      // Numbers of a block type are not stored as such: they come from it.
      sentence += fmt::format("{}{} {} {}", sentence.empty() ? "" : ", ", what,
                              traits(type).block > 1 ? "from" : "in", to_string(type));
    }
  }
  return sentence;
}

namespace {

/// describe_weights(), with what a method packed in front and its parts left out.
std::string weights_of(std::span<const TensorInfo> tensors, const Inspection& inspection) {
  const bool tied = inspection.model && inspection.model->tied_head;
  if (inspection.quantized == 0) return describe_weights(tensors, tied);
  std::vector<TensorInfo> plain;
  for (const TensorInfo& tensor : tensors)
    if (tensor.name.ends_with(".weight") || tensor.name.ends_with(".bias")) plain.push_back(tensor);
  const auto method = inspection.quantization.find("quant_method");
  const bool named = method != inspection.quantization.end() && method->is_string();
  const std::string rest = describe_weights(plain, tied);
  return fmt::format("{} matrices quantized with {}{}{}", inspection.quantized,
                     named ? method->get<std::string>() : "an unnamed method",
                     rest.empty() ? "" : ", ", rest);
}

}  // namespace

Inspection inspect_model(const io::Checkpoint& checkpoint) {
  const auto tensors = checkpoint.tensors().tensors();
  Inspection inspection;
  inspection.container = checkpoint.container();
  inspection.files = files_of(checkpoint);
  for (const FileSize& file : inspection.files) inspection.file_bytes += file.bytes;
  inspection.architecture = architecture_of(checkpoint);
  inspection.types = types_of(tensors);
  std::uint64_t elements = 0;
  for (const TypeUse& use : inspection.types) {
    elements += use.elements;
    inspection.tensor_bytes += use.bytes;
  }
  read_model(checkpoint, inspection);
  inspection.parameters = inspection.model ? inspection.model->parameters : elements;
  if (checkpoint.config() != nullptr && checkpoint.config()->contains("quantization_config"))
    inspection.quantization = (*checkpoint.config())["quantization_config"];
  inspection.weights = weights_of(tensors, inspection);
  read_tokenizer(checkpoint, inspection);
  inspection.metadata = metadata_of(checkpoint);
  inspection.notes = checkpoint.notes();
  return inspection;
}

void verify(const io::Checkpoint& checkpoint, Inspection& inspection) {
  inspection.verified = io::verify_checksums(checkpoint).value_or(0);
  const auto paths = checkpoint.files();
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const MappedFile file(paths[i]);
    inspection.files[i].sha256 = sha256_hex(file.bytes());
  }
}

std::vector<KernelChoice> all_kernel_choices() {
  const Isa detected = detected_isa();
  const Isa allowed = host_isa();
  std::vector<KernelChoice> all = kernels::kernel_choices(detected, allowed);
  for (KernelChoice& choice : quant::kernel_choices(detected, allowed))
    all.push_back(std::move(choice));
  return all;
}

}  // namespace tender::cli
