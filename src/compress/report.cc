#include "compress/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace tender::compress {
namespace {

double bits(std::uint64_t bytes, std::uint64_t numbers) {
  return numbers == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(numbers);
}

double mebibytes(std::uint64_t bytes) { return static_cast<double>(bytes) / (1024.0 * 1024.0); }

OrderedJson layer_json(const LayerReport& layer) {
  return {{"name", layer.name},
          {"site", layer.site},
          {"method", layer.method},
          {"rows", layer.rows},
          {"source", layer.source},
          {"out", layer.out},
          {"in", layer.in},
          {"bytes", layer.bytes},
          {"bits_per_weight", layer.bits_per_weight()},
          {"relative_error", layer.relative_error},
          {"sqnr_db", layer.sqnr_db ? OrderedJson(*layer.sqnr_db) : OrderedJson()},
          {"seconds", layer.seconds}};
}

OrderedJson source_json(const Report& report) {
  OrderedJson files = OrderedJson::array();
  for (const SourceFile& file : report.files)
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return {{"name", report.source_name},
          {"container", report.container},
          {"architecture", report.architecture},
          {"model_type", report.model_type},
          {"parameters", report.parameters},
          {"tensor_bytes", report.source_bytes},
          {"quantized_from", report.quantized_from},
          {"kept_from", report.kept_from},
          {"files", files}};
}

/// Layers of the largest error first.
std::vector<const LayerReport*> worst_layers(const Report& report, std::size_t count) {
  std::vector<const LayerReport*> layers;
  for (const LayerReport& layer : report.layers) layers.push_back(&layer);
  std::ranges::stable_sort(layers, std::greater<>(),
                           [](const LayerReport* l) { return l->relative_error; });
  layers.resize(std::min(count, layers.size()));
  return layers;
}

std::string text_phrase(const Json& text) {
  return fmt::format("{} windows of {} tokens from `{}` (SHA-256 `{}`, seed {})",
                     text.at("windows").dump(), text.at("seqlen").dump(),
                     text.at("file").get<std::string>(), text.at("sha256").get<std::string>(),
                     text.at("seed").dump());
}

std::string calibration_sentence(const Report& report) {
  if (report.calibration.empty()) return "No calibration text was used.";
  const Json text = Json::parse(report.calibration);
  if (!text.contains("merged")) return "Calibrated on " + text_phrase(text) + ".";
  std::string all;
  for (const Json& each : text.at("merged"))
    all += (all.empty() ? "" : ", and on ") + text_phrase(each);
  return "Calibrated on " + all + ".";
}

std::string options_table(const Report& report) {
  std::string rows;
  const OrderedJson options = OrderedJson::parse(report.options);
  for (const auto& option : options.items()) {
    const OrderedJson& value = option.value();
    rows += fmt::format("| {} | {} |\n", option.key(),
                        value.is_string() ? value.get<std::string>() : value.dump());
  }
  if (report.attention)
    rows += fmt::format("| attention in integers | {} bits, KV cache {} bits |\n",
                        report.attention->rows, report.attention->cache);
  return "| option | value |\n|---|---|\n" + rows;
}

}  // namespace

double LayerReport::bits_per_weight() const { return bits(bytes, std::uint64_t{out} * in); }

std::uint64_t Report::quantized_weights() const {
  std::uint64_t weights = 0;
  for (const LayerReport& layer : layers) weights += std::uint64_t{layer.out} * layer.in;
  return weights;
}
double Report::bits_per_weight() const { return bits(quantized_bytes, quantized_weights()); }
double Report::bits_per_weight_model() const { return bits(stored_bytes, parameters); }

std::string listed_types(const std::map<std::string, std::size_t>& types, std::string_view one,
                         std::string_view many) {
  std::vector<std::pair<std::size_t, std::string>> sorted;
  for (const auto& [type, count] : types) sorted.emplace_back(count, type);
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::string text;
  for (const auto& [count, type] : sorted)
    text += fmt::format("{}{} {} from {}", text.empty() ? "" : ", ", count, count == 1 ? one : many,
                        type);
  return text;
}

std::string layers_note(const std::vector<LayerReport>& layers) {
  Json note = Json::array();
  for (const LayerReport& layer : layers)
    note.push_back({{"name", layer.name},
                    {"method", layer.method},
                    {"site", layer.site},
                    {"rows", layer.rows},
                    {"source", layer.source},
                    {"out", layer.out},
                    {"in", layer.in},
                    {"bytes", layer.bytes},
                    {"relative_error", layer.relative_error},
                    {"sqnr_db", layer.sqnr_db ? Json(*layer.sqnr_db) : Json()},
                    {"seconds", layer.seconds}});
  return to_text(note);
}

std::vector<LayerReport> layers_of_note(const std::string& note) {
  std::vector<LayerReport> layers;
  for (const Json& each : Json::parse(note)) {
    LayerReport layer{.name = each.at("name"),
                      .method = each.at("method"),
                      .site = each.at("site"),
                      .rows = each.at("rows"),
                      .source = each.at("source"),
                      .out = each.at("out"),
                      .in = each.at("in"),
                      .bytes = each.at("bytes"),
                      .relative_error = each.at("relative_error"),
                      .seconds = each.at("seconds")};
    if (!each.at("sqnr_db").is_null()) layer.sqnr_db = each.at("sqnr_db").get<double>();
    layers.push_back(std::move(layer));
  }
  return layers;
}

OrderedJson report_json(const Report& report, std::string_view tool_version) {
  OrderedJson layers = OrderedJson::array();
  for (const LayerReport& layer : report.layers) layers.push_back(layer_json(layer));
  OrderedJson json = {{"version", 1}, {"tender", tool_version}};
  json["source"] = source_json(report);
  json["recipe"] = {{"method", report.method},
                    {"options", OrderedJson::parse(report.options)},
                    {"float_dtype", report.float_type}};
  if (report.attention)
    json["recipe"]["attention"] = {{"bits", report.attention->rows},
                                   {"kv_bits", report.attention->cache}};
  if (!report.keep_float.empty()) json["recipe"]["keep_float"] = report.keep_float;
  json["calibration"] =
      report.calibration.empty() ? OrderedJson() : OrderedJson::parse(report.calibration);
  json["totals"] = {{"quantized_weights", report.quantized_weights()},
                    {"quantized_bytes", report.quantized_bytes},
                    {"bits_per_weight", report.bits_per_weight()},
                    {"bytes", report.stored_bytes},
                    {"bits_per_weight_model", report.bits_per_weight_model()}};
  json["run"] = {{"seconds", report.seconds},
                 {"threads", report.threads},
                 {"peak_rss_bytes", report.peak_resident_bytes}};
  json["layers"] = std::move(layers);
  json["head"] = report.head ? layer_json(*report.head) : OrderedJson();
  json["tensors"] = report.tensors;
  return json;
}

std::string model_card(const Report& report) {
  std::string card = fmt::format("# {} quantized with {}\n\n", report.source_name, report.method);
  card += fmt::format(
      "{} linear layers of this {} model hold codes of the method `{}`, {:.3f} bits per weight; "
      "all else stays "
      "float (matrices in {}). The weights take {:.1f} MiB, {:.3f} bits per parameter; those of "
      "the source took "
      "{:.1f} MiB.\n\n",
      report.layers.size(), report.architecture, report.method, report.bits_per_weight(),
      report.float_type, mebibytes(report.stored_bytes), report.bits_per_weight_model(),
      mebibytes(report.source_bytes));
  if (report.head)
    card += fmt::format("The LM head holds codes of `{}` ({}), {:.3f} bits per weight.\n\n",
                        report.head->method, report.head->rows, report.head->bits_per_weight());
  card += fmt::format(
      "## Source\n\nQuantized: {}. Kept float: {}.\n\n| file | bytes | SHA-256 |\n|---|---|---|\n",
      listed_types(report.quantized_from, "matrix", "matrices"),
      listed_types(report.kept_from, "tensor", "tensors"));
  for (const SourceFile& file : report.files)
    card += fmt::format("| {} | {} | `{}` |\n", file.name, file.bytes, file.sha256);
  card +=
      fmt::format("\n## Recipe\n\n{}\n\n{}\n", calibration_sentence(report), options_table(report));
  card +=
      "## Layers with the largest weight error\n\n| layer | bits per weight | relative error "
      "|\n|---|---|---|\n";
  for (const LayerReport* layer : worst_layers(report, 8))
    card += fmt::format("| {} | {:.3f} | {:.5f} |\n", layer->name, layer->bits_per_weight(),
                        layer->relative_error);
  card +=
      "\nAll layers, hashes of all tensors and the resources of the run stand in "
      "`tender_report.json`.\n\n"
      "## Use\n\n"
      "    tender generate . --prompt \"Once upon a time\"\n"
      "    tender eval perplexity . --text FILE\n"
      "    tender convert . OUT        # dequantized, for other tools\n";
  return card;
}

}  // namespace tender::compress
