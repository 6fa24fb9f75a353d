#include "eval/model_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/cpu.h"
#include "base/memory.h"

namespace tender::eval {
namespace {

void append_once(std::string& list, std::string_view item, std::string_view separator) {
  if (list.find(item) != std::string::npos) return;
  if (!list.empty()) list += separator;
  list += item;
}

}  // namespace

SiteFacts facts_of(const model::SiteSpec& spec, const quant::PackedSite& site) {
  return {model::site_kind(spec.name),
          std::string(site.method()),
          site.kernel(),
          site.bytes(),
          site.activation_bits(),
          site.counts()};
}

SiteFacts head_facts(const quant::PackedSite& head) {
  return {std::string(model::kHeadSite), std::string(head.method()), head.kernel(), head.bytes(),
          head.activation_bits()};
}

ModelFacts facts_of(const model::Model& model) {
  ModelFacts facts{model.info(), {}, {}, model.resident_bytes()};
  facts.attention = model.attention_bits();
  for (std::size_t s = 0; s < model.sites().size(); ++s)
    facts.sites.push_back(facts_of(model.sites()[s], model.site(s)));
  if (model.head() != nullptr) facts.head = head_facts(*model.head());
  return facts;
}

std::string method_of(const ModelFacts& facts) {
  std::string methods;
  for (const SiteFacts& site : facts.sites) append_once(methods, site.method, ", ");
  return methods;
}

std::string weights_of(const ModelFacts& facts) {
  // a product in float is called nothing else
  const auto is_float = [](const SiteFacts& site) { return site.kernel.starts_with("gemm_f32"); };
  const auto floats = static_cast<std::size_t>(std::ranges::count_if(facts.sites, is_float));
  const bool float_head = !facts.head || is_float(*facts.head);
  if (floats == facts.sites.size() && float_head) return "dequantized";
  if (floats == 0) return float_head ? "packed, head in float32" : "packed";
  return "packed and dequantized";
}

OrderedJson kernels_of(const ModelFacts& facts) {
  OrderedJson kernels = OrderedJson::object();
  for (const SiteFacts& site : facts.sites) {
    std::string names = kernels.value(site.kind, std::string());
    append_once(names, site.kernel, "; ");
    kernels[site.kind] = names;
  }
  if (facts.head) kernels[facts.head->kind] = facts.head->kernel;
  return kernels;
}

std::string attention_text(const OrderedJson& attention) {
  if (attention.is_null()) return "float";
  return fmt::format("{} bits, KV cache {} bits", attention.at("bits").get<int>(),
                     attention.at("kv_bits").get<int>());
}

OrderedJson counts_of(const ModelFacts& facts) {
  OrderedJson kinds = OrderedJson::object();
  for (const SiteFacts& site : facts.sites) {
    if (site.counts.rows == 0) continue;
    OrderedJson& kind = kinds[site.kind];
    if (kind.is_null()) kind = OrderedJson::object();
    for (const auto& [name, count] :
         {std::pair{"rows", site.counts.rows}, std::pair{"values", site.counts.values},
          std::pair{"clipped", site.counts.clipped}, std::pair{"beyond", site.counts.beyond}})
      kind[name] = kind.value(name, std::uint64_t{0}) + count;
  }
  return kinds;
}

std::string counts_line(const ModelFacts& facts) { return counts_line(counts_of(facts)); }

std::string counts_line(const OrderedJson& kinds) {
  std::string clipped, beyond;
  for (const auto& kind : kinds.items()) {
    const auto count = [&](const char* name) { return kind.value()[name].get<double>(); };
    clipped += fmt::format("{}{} {:.4f} %", clipped.empty() ? "" : ", ", kind.key(),
                           100 * count("clipped") / count("values"));
    if (count("beyond") > 0)
      beyond += fmt::format("{}{} {:.1f} %", beyond.empty() ? "" : ", ", kind.key(),
                            100 * count("beyond") / count("rows"));
  }
  if (clipped.empty()) return "";
  std::string text = "clipped by calibrated ranges: " + clipped + "\n";
  if (!beyond.empty()) text += "rows past the calibrated positions: " + beyond + "\n";
  return text;
}

ModelSize size_of(const io::Checkpoint& checkpoint, const ModelFacts& facts) {
  ModelSize size;
  for (const auto& path : checkpoint.files()) size.file_bytes += std::filesystem::file_size(path);
  const model::ModelSpec model = model::read_spec(checkpoint);
  const model::WeightReader weights(checkpoint, model);
  std::uint64_t numbers = 0;
  std::uint64_t bytes = 0;
  double channels = 0;
  double activation_bits = 0;
  for (std::size_t s = 0; s < model.sites.size(); ++s) {
    const model::SiteSpec& spec = model.sites[s];
    const SiteFacts& site = facts.sites.at(s);
    for (const std::size_t out : spec.shape.outs) numbers += std::uint64_t{out} * spec.shape.in;
    if (weights.is_quantized(spec)) {
      bytes += site.bytes;
    } else {  // a float site holds float32, whatever the file stores
      for (const std::string& linear : spec.linears)
        bytes += weights.stored(linear + ".weight").bytes.size();
    }
    const auto width = static_cast<double>(spec.shape.in);
    channels += width;
    activation_bits += width * site.activation_bits;
  }
  std::uint64_t stored = 0;
  for (const TensorInfo& tensor : checkpoint.tensors().tensors()) stored += tensor.bytes.size();
  const auto bits_per = [](std::uint64_t in_bytes, std::uint64_t count) {
    return 8.0 * static_cast<double>(in_bytes) / static_cast<double>(count);
  };
  size.bits_per_weight = bits_per(bytes, numbers);
  const quant::SiteShape& head = model.head.shape;
  size.head_bits_per_weight =
      bits_per(facts.head ? facts.head->bytes : weights.stored(model.head_weight).bytes.size(),
               std::uint64_t{head.in} * head.outs.front());
  size.bits_per_weight_model = bits_per(stored, model.info.parameters);
  size.bits_per_activation = activation_bits / channels;
  return size;
}

OrderedJson to_json(const ModelSize& size) {
  return {{"file_bytes", size.file_bytes},
          {"bits_per_weight", size.bits_per_weight},
          {"bits_per_weight_model", size.bits_per_weight_model},
          {"head_bits_per_weight", size.head_bits_per_weight},
          {"bits_per_activation", size.bits_per_activation}};
}

OrderedJson model_facts(const ModelFacts& facts, const std::string& name) {
  OrderedJson json;
  json["model"] = {{"name", name},
                   {"architecture", facts.info.architecture},
                   {"parameters", facts.info.parameters},
                   {"resident_bytes", facts.resident_bytes},
                   {"layer_by_layer", facts.layerwise}};
  json["method"] = method_of(facts);
  json["weights"] = weights_of(facts);
  const auto& attention = facts.attention;
  json["attention"] = attention
                          ? OrderedJson{{"bits", attention->rows}, {"kv_bits", attention->cache}}
                          : OrderedJson();
  json["cache_bytes_per_token"] = model::cache_bytes_per_token(facts.info, attention);
  json["kernels"] = kernels_of(facts);
  return json;
}

OrderedJson machine_facts(const ThreadPool& pool) {
  return {{"threads", pool.threads()},
          {"cpu", cpu_name()},
          {"isa", to_string(host_isa())},
          {"peak_rss_bytes", peak_resident_bytes()}};
}

void add_facts(const ModelFacts& facts, const std::string& name, const ThreadPool& pool,
               OrderedJson& json) {
  json.update(model_facts(facts, name));
  json.update(machine_facts(pool));
}

}  // namespace tender::eval
