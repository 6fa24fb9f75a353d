#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "base/utf8.h"
#include "cli/inspection.h"

namespace tender::cli {
namespace {

OrderedJson or_null(const std::string& text) {
  return text.empty() ? OrderedJson() : OrderedJson(text);
}

OrderedJson model_json(const model::ModelInfo& info) {
  return {{"architecture", info.architecture},
          {"model_type", info.model_type},
          {"layers", info.layers},
          {"width", info.width},
          {"intermediate", info.intermediate},
          {"heads", info.heads},
          {"kv_heads", info.kv_heads},
          {"head_width", info.head_width},
          {"vocabulary", info.vocabulary},
          {"context", info.context},
          {"tied_head", info.tied_head}};
}

OrderedJson tokenizer_json(const TokenizerFacts& facts) {
  OrderedJson special = OrderedJson::array();
  for (const auto& token : facts.special)
    special.push_back({{"role", token.role}, {"id", token.id}, {"text", token.text}});
  return {{"kind", facts.kind},         {"vocabulary", facts.vocabulary},
          {"special", special},         {"adds_bos", facts.adds_bos},
          {"adds_eos", facts.adds_eos}, {"chat_template", facts.has_chat_template}};
}

OrderedJson files_json(const Inspection& inspection) {
  OrderedJson files = OrderedJson::array();
  for (const FileSize& file : inspection.files) {
    OrderedJson entry = {{"name", file.name}, {"bytes", file.bytes}};
    if (!file.sha256.empty()) entry["sha256"] = file.sha256;
    files.push_back(std::move(entry));
  }
  return files;
}

OrderedJson types_json(const Inspection& inspection) {
  OrderedJson types = OrderedJson::array();
  for (const TypeUse& use : inspection.types)
    types.push_back({{"type", to_string(use.type)},
                     {"tensors", use.tensors},
                     {"elements", use.elements},
                     {"bytes", use.bytes}});
  return types;
}

OrderedJson tensors_json(const io::Checkpoint& checkpoint) {
  OrderedJson tensors = OrderedJson::array();
  for (const TensorInfo& tensor : checkpoint.tensors().tensors())
    tensors.push_back({{"name", tensor.name},
                       {"type", to_string(tensor.type)},
                       {"shape", tensor.shape},
                       {"elements", tensor.elements()},
                       {"bytes", tensor.bytes.size()}});
  return tensors;
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string mib(std::uint64_t bytes) {
  if (bytes < 1U << 20U) return grouped(bytes) + " bytes";
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1U << 20U));
}

/// A line of the form "  label          value".
void field(std::string& out, std::string_view label, std::string_view value) {
  out += fmt::format("  {:<14} {}\n", label, value);
}

/// Metadata on one line.
std::string value_text(const OrderedJson& value) {
  constexpr std::size_t kShown = 100;
  if (value.is_string()) return quote(value.get_ref<const std::string&>(), kShown);
  const std::string text =
      value.is_object() && value.contains("count") && value.contains("first")
          ? fmt::format("{} values: {}, …", value["count"].get<std::uint64_t>(),
                        tender::to_text(value["first"]))
          : tender::to_text(value);
  if (text.size() <= kShown) return text;
  const std::string_view cut = std::string_view(text).substr(0, kShown);
  return std::string(cut.substr(0, cut.size() - incomplete_tail(cut))) + " …";
}

/// "tender {"mode":"row-scaled",…}": method and options, the rest is in the metadata.
std::string quantization_text(const OrderedJson& config) {
  if (!config.is_object() || !config.contains("quant_method")) return value_text(config);
  const std::string method = value_text(config["quant_method"]);
  return config.contains("options") ? method + " " + tender::to_text(config["options"]) : method;
}

/// "model.layers.7.mlp.down_proj" → "mlp.down_proj": the same site of all layers.
std::string kind_of(std::string_view site) {
  std::size_t at = site.find_first_of("0123456789");
  if (at == std::string_view::npos) return std::string(site);
  at = site.find('.', at);
  return std::string(at == std::string_view::npos ? site : site.substr(at + 1));
}

/// One line for each way of rounding rows: "one-row, 8 groups: mlp.down_proj 30".
void sites_text(std::string& out, const std::vector<model::SiteDescription>& sites) {
  std::map<std::string, std::map<std::string, std::size_t>> kinds;
  for (const auto& site : sites) ++kinds[site.rows][kind_of(site.name)];
  for (const auto& [rows, counts] : kinds) {
    std::string text;
    for (const auto& [kind, count] : counts)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", kind, count);
    field(out, "rows", fmt::format("{}: {}", rows, text));
  }
}

/// "120 of 121 sites; in float32: self_attn.qkv 30 (Q3_K is not multiplied as stored)".
std::string packed_text(const std::vector<model::BlockSite>& sites) {
  std::map<std::string, std::map<std::string, std::size_t>> floats;
  std::size_t packed = sites.size();
  for (const model::BlockSite& site : sites) {
    if (site.why.empty()) continue;
    --packed;
    ++floats[site.why][kind_of(site.name)];
  }
  std::string text = fmt::format("{} of {} sites", packed, sites.size());
  for (const auto& [why, kinds] : floats) {
    std::string names;
    for (const auto& [kind, count] : kinds)
      names += fmt::format("{}{} {}", names.empty() ? "" : ", ", kind, count);
    text += fmt::format("; in float32: {} ({})", names, why);
  }
  return text;
}

/// "8 bits, KV cache of 4 bits, 6480 bytes for each token".
std::string attention_text(const Inspection& inspection) {
  const auto& bits = inspection.attention;
  const std::string how =
      bits ? fmt::format("{} bits, KV cache of {} bits", bits->rows, bits->cache) : "float";
  return fmt::format("{}, {} bytes for each token", how,
                     grouped(model::cache_bytes_per_token(*inspection.model, bits)));
}

void model_text(std::string& out, const model::ModelInfo& info) {
  field(out, "architecture",
        info.model_type == info.architecture
            ? info.architecture
            : fmt::format("{} ({})", info.architecture, info.model_type));
  field(out, "layers", std::to_string(info.layers));
  field(out, "width", fmt::format("{}, MLP {}", info.width, info.intermediate));
  field(
      out, "heads",
      fmt::format("{} of {}, {} for keys and values", info.heads, info.head_width, info.kv_heads));
  field(out, "vocabulary",
        fmt::format("{}{}", info.vocabulary, info.tied_head ? ", head tied to the embedding" : ""));
  field(out, "context", std::to_string(info.context));
}

void tokenizer_text(std::string& out, const TokenizerFacts& facts) {
  field(out, "tokenizer",
        fmt::format("{}, {} tokens{}", facts.kind, facts.vocabulary,
                    facts.has_chat_template ? ", chat template" : ""));
  std::string special;
  for (const auto& token : facts.special)
    special += fmt::format("{}{} {} {}", special.empty() ? "" : ", ", token.role, token.id,
                           quote(token.text));
  if (facts.adds_bos) special += special.empty() ? "adds BOS" : "; adds BOS";
  if (facts.adds_eos) special += special.empty() ? "adds EOS" : "; adds EOS";
  if (!special.empty()) field(out, "special", special);
}

void facts_text(std::string& out, const Inspection& inspection) {
  field(out, "container", inspection.container);
  for (const FileSize& file : inspection.files)
    field(out, "file",
          fmt::format("{}, {}{}{}", file.name, mib(file.bytes),
                      file.sha256.empty() ? "" : ", SHA-256 ", file.sha256));
  if (inspection.model) {
    model_text(out, *inspection.model);
    field(out, "attention", attention_text(inspection));
  }
  if (!inspection.model && !inspection.architecture.empty())
    field(out, "architecture", quote(inspection.architecture));
  if (!inspection.model_problem.empty())
    field(out, "model", "not known here: " + inspection.model_problem);
  if (!inspection.types.empty()) {
    field(out, "parameters", grouped(inspection.parameters));
    field(out, "stored",
          fmt::format("{}, {:.3f} bits per weight", mib(inspection.tensor_bytes),
                      inspection.bits_per_weight()));
    field(out, "weights", inspection.weights);
  }
  if (!inspection.quantization.is_null())
    field(out, "quantization", quantization_text(inspection.quantization));
  sites_text(out, inspection.sites);
  if (!inspection.block_sites.empty())
    field(out, "runs packed", packed_text(inspection.block_sites));
  if (inspection.tokenizer) tokenizer_text(out, *inspection.tokenizer);
  if (!inspection.tokenizer_problem.empty())
    field(out, "tokenizer", "cannot be used: " + inspection.tokenizer_problem);
  if (!inspection.tokenizer && inspection.tokenizer_problem.empty())
    field(out, "tokenizer", "none");
  if (inspection.verified)
    field(out, "verified",
          *inspection.verified > 0 ? fmt::format("{} tensors have the hashes of tender_report.json",
                                                 *inspection.verified)
                                   : "no hashes of tensors are stored with this model");
  for (const std::string& note : inspection.notes) field(out, "note", note);
}

/// A table: the first column and numbers as wide as their widest cell.
void tensors_text(std::string& out, std::span<const TensorInfo> tensors) {
  std::size_t widest = 4;
  for (const TensorInfo& tensor : tensors)
    widest = std::max(widest, quote(tensor.name, 96).size() - 2);
  out += fmt::format("\n  {:<{}}  {:<8} {:>14} {:>14}  {}\n", "tensor", widest, "type", "elements",
                     "bytes", "shape");
  for (const TensorInfo& tensor : tensors) {
    const std::string name = quote(tensor.name, 96);
    out += fmt::format("  {:<{}}  {:<8} {:>14} {:>14}  {}\n", name.substr(1, name.size() - 2),
                       widest, to_string(tensor.type), grouped(tensor.elements()),
                       grouped(tensor.bytes.size()), to_string(tensor.shape));
  }
}

}  // namespace

OrderedJson to_json(const Inspection& inspection, const io::Checkpoint& checkpoint) {
  OrderedJson document = {{"path", checkpoint.path().string()},
                          {"container", inspection.container},
                          {"files", files_json(inspection)},
                          {"file_bytes", inspection.file_bytes},
                          {"architecture", or_null(inspection.architecture)}};
  document["model"] = inspection.model ? model_json(*inspection.model) : OrderedJson();
  document["attention"] = inspection.attention
                              ? OrderedJson{{"bits", inspection.attention->rows},
                                            {"kv_bits", inspection.attention->cache}}
                              : OrderedJson();
  if (inspection.model)
    document["cache_bytes_per_token"] =
        model::cache_bytes_per_token(*inspection.model, inspection.attention);
  document["model_problem"] = or_null(inspection.model_problem);
  document["parameters"] = inspection.parameters;
  document["bytes"] = inspection.tensor_bytes;
  document["bits_per_weight"] = inspection.bits_per_weight();
  document["types"] = types_json(inspection);
  document["weights"] = or_null(inspection.weights);
  document["quantization"] = inspection.quantization;
  OrderedJson sites = OrderedJson::array();
  for (const auto& site : inspection.sites)
    sites.push_back({{"name", site.name}, {"method", site.method}, {"rows", site.rows}});
  document["sites"] = std::move(sites);
  OrderedJson floats = OrderedJson::array();
  for (const auto& site : inspection.block_sites)
    if (!site.why.empty()) floats.push_back({{"name", site.name}, {"why", site.why}});
  document["packed"] = inspection.block_sites.empty()
                           ? OrderedJson()
                           : OrderedJson{{"sites", inspection.block_sites.size() - floats.size()},
                                         {"dequantized", std::move(floats)}};
  document["tokenizer"] =
      inspection.tokenizer ? tokenizer_json(*inspection.tokenizer) : OrderedJson();
  document["tokenizer_problem"] = or_null(inspection.tokenizer_problem);
  document["metadata"] = inspection.metadata;
  document["notes"] = inspection.notes;
  document["tensors"] = tensors_json(checkpoint);
  if (inspection.verified) document["verified_tensors"] = *inspection.verified;
  return document;
}

std::string to_text(const Inspection& inspection, const io::Checkpoint& checkpoint) {
  std::string out = checkpoint.path().string() + "\n";
  facts_text(out, inspection);
  if (!inspection.types.empty()) {
    out += fmt::format("\n  {:<8} {:>8} {:>16} {:>14} {:>8}\n", "type", "tensors", "elements",
                       "bytes", "bits");
    for (const TypeUse& use : inspection.types) {
      const DTypeTraits& type = traits(use.type);
      out += fmt::format("  {:<8} {:>8} {:>16} {:>14} {:>8.4g}\n", type.name, use.tensors,
                         grouped(use.elements), grouped(use.bytes),
                         static_cast<double>(type.bits) / static_cast<double>(type.block));
    }
  }
  if (!inspection.metadata.empty()) {
    out += "\n  metadata\n";
    for (const auto& [key, value] : inspection.metadata.items())
      out += fmt::format("  {} = {}\n", key, value_text(value));
  }
  const auto tensors = checkpoint.tensors().tensors();
  if (!tensors.empty()) tensors_text(out, tensors);
  return out;
}

OrderedJson to_json(const std::vector<KernelChoice>& kernels) {
  OrderedJson list = OrderedJson::array();
  for (const KernelChoice& kernel : kernels)
    list.push_back({{"family", kernel.family},
                    {"name", kernel.name},
                    {"needs", kernel.needs},
                    {"chosen", kernel.chosen},
                    {"why", or_null(kernel.why)}});
  return list;
}

std::string to_text(const std::vector<KernelChoice>& kernels) {
  std::string out = fmt::format("{}: {}\n", cpu_name(), to_string(detected_isa()));
  out += fmt::format("  {:<16} {:<10} {:<24} {}\n", "kernel", "variant", "needs", "");
  for (const KernelChoice& kernel : kernels)
    out += fmt::format("  {:<16} {:<10} {:<24} {}\n", kernel.family, kernel.name, kernel.needs,
                       kernel.chosen ? "chosen" : kernel.why);
  return out;
}

}  // namespace tender::cli
