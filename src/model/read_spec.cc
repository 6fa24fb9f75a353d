#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/contracts.h"
#include "base/error.h"
#include "model/architecture.h"
#include "model/archs.h"

namespace tender::model {
namespace {

std::string supported(io::Checkpoint const& checkpoint) {
  std::string names;
  const auto add = [&](std::string_view name) {
    names.append(names.empty() ? "" : ", ").append(name);
  };
  for (const Architecture* arch : kArchitectures) {
    if (checkpoint.gguf() != nullptr) {
      for (const GgufName& name : arch->gguf) add(name.architecture);
    } else {
      for (const HfName& name : arch->hf) add(name.model_type);
    }
  }
  return names;
}

[[noreturn]] void refuse(const io::Checkpoint& checkpoint, const std::string& found) {
  const std::string known = supported(checkpoint);
  fail(ErrorKind::unsupported,
       {.code = "ARCH_UNSUPPORTED",
        .file = name_of(checkpoint),
        .found = found,
        .expected = known,
        .hint = "`tender inspect` shows such a file; to run it, use a model of a supported "
                "architecture"},
       "the architecture is {}; this build supports {}", found, known);
}

const GgufName* gguf_name(const Architecture& arch, const std::string& name) {
  for (const GgufName& known : arch.gguf)
    if (known.architecture == name) return &known;
  return nullptr;
}

const Architecture& of_gguf(const io::Checkpoint& checkpoint) {
  const std::string& name = checkpoint.gguf()->string("general.architecture");
  for (const Architecture* arch : kArchitectures)
    if (gguf_name(*arch, name) != nullptr) return *arch;
  refuse(checkpoint, quote(name));
}

/// First of `architectures`, or empty.
std::string class_name(const Json& config) {
  const auto list = config.find("architectures");
  if (list == config.end() || !list->is_array() || list->empty() || !list->front().is_string())
    return "";
  return list->front().get<std::string>();
}

/// The type decides; the class must be a causal language model (or its bare body), since a
/// classifier of the same family has other tensors.
const Architecture& of_config(const io::Checkpoint& checkpoint) {
  const Json& config = *checkpoint.config();
  const auto entry = config.find("model_type");
  const std::string type =
      entry != config.end() && entry->is_string() ? entry->get<std::string>() : "";
  const std::string given_class = class_name(config);
  for (const Architecture* arch : kArchitectures)
    for (const HfName& name : arch->hf) {
      const std::string causal(name.causal_class);
      const std::string body =
          causal.substr(0, causal.size() - std::string_view("ForCausalLM").size()) + "Model";
      const bool class_fits = given_class == causal || given_class == body;
      if (type.empty() ? class_fits
                       : type == name.model_type && (class_fits || given_class.empty()))
        return *arch;
    }
  if (type.empty() && given_class.empty())
    refuse(checkpoint, "not named (neither model_type nor architectures)");
  refuse(checkpoint, given_class.empty() ? quote(type)
                                         : fmt::format("{} ({})", quote(type), quote(given_class)));
}

}  // namespace

std::string name_of(const io::Checkpoint& checkpoint) {
  const std::filesystem::path& path = checkpoint.path();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

const Architecture& architecture_of(const io::Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return of_gguf(checkpoint);
  if (checkpoint.config() != nullptr) return of_config(checkpoint);
  fail(ErrorKind::invalid_input,
       {.code = "MODEL_NO_CONFIG",
        .file = name_of(checkpoint),
        .found = std::string(checkpoint.container()),
        .expected = "a GGUF file or a Hugging Face directory",
        .hint = "give the directory that holds config.json beside the weights"},
       "a bare safetensors file says nothing of its architecture");
}

namespace {

/// The settings of a GGUF file went through config.json's words; a refusal is still about the file.
ModelSpec spec_of_gguf(const Architecture& arch, const OrderedJson& config,
                       const std::string& file) try {
  return arch.spec(Json::parse(config.dump()), file);
} catch (const Error& error) {
  if (error.code() != "HF_PARAM") throw;
  ErrorDetails details = error.details();
  details.code = "GG_PARAM";
  throw Error(error.kind(), details, error.sentence());
}

std::uint64_t parameters(const ModelSpec& spec, const std::string& file) {
  std::uint64_t sum = 0;
  for (const TensorSpec& tensor : spec.tensors) {
    const auto count = element_count(tensor.shape);
    if (!count)
      fail(ErrorKind::corrupt_file,
           {.code = "HF_PARAM",
            .file = file,
            .item = tensor.name,
            .found = to_string(tensor.shape),
            .expected = "fewer than 2^48 numbers",
            .hint = "the configuration is damaged"},
           "{} would have shape {}: expected fewer than 2^48 numbers", tensor.name,
           to_string(tensor.shape));
    sum += *count;
  }
  return sum;
}

constexpr std::string_view kEmbedding = "embed_tokens.weight";

/// Rows of the head are those of the embedding's width, in every architecture so far.
void describe_head(ModelSpec& spec) {
  const auto table = std::ranges::find_if(
      spec.tensors, [](const TensorSpec& tensor) { return tensor.name.ends_with(kEmbedding); });
  require(table != spec.tensors.end() && table->shape.size() == 2,
          "an architecture has an embedding");
  spec.head = {std::string(kHeadSite),
               {std::string(kHeadSite)},
               {table->shape[1], {table->shape[0]}, false, false}};
  spec.head_weight = spec.info.tied_head ? table->name : "lm_head.weight";
}

}  // namespace

std::string site_kind(std::string_view name) {
  std::size_t begin = 0;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, dot - at);
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!part.empty() && std::ranges::all_of(part, is_digit))
      begin = std::min(dot + 1, name.size());
    at = dot + 1;
  }
  return std::string(name.substr(begin));
}

ModelSpec read_spec(const io::Checkpoint& checkpoint) {
  const Architecture& arch = architecture_of(checkpoint);
  if (checkpoint.gguf() == nullptr) {
    ModelSpec spec = arch.spec(*checkpoint.config(), "config.json");
    Json config = *checkpoint.config();
    config.erase("quantization_config");
    spec.config_json = to_text(config, 2) + "\n";
    spec.info.parameters = parameters(spec, "config.json");
    describe_head(spec);
    return spec;
  }
  const std::string& file = checkpoint.gguf()->file();
  const OrderedJson config = arch.config_of_gguf(checkpoint);
  ModelSpec spec = spec_of_gguf(arch, config, file);
  spec.config_json = config.dump(2) + "\n";
  spec.info.parameters = parameters(spec, file);
  describe_head(spec);
  if (!gguf_name(arch, checkpoint.gguf()->string("general.architecture"))->interleaved_rotary)
    for (TensorSpec& tensor : spec.tensors) tensor.rotary_heads = 0;
  return spec;
}

}  // namespace tender::model
