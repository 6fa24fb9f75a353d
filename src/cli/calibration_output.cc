#include "cli/calibration_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tender::cli {
namespace {

std::string value_or(const compress::Fingerprint& fingerprint, const char* key,
                     const char* otherwise) {
  const auto found = fingerprint.find(key);
  return found == fingerprint.end() ? otherwise : found->second;
}

template <class T>
OrderedJson or_null(const std::optional<T>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

std::string number(const std::optional<float>& value) {
  return value ? fmt::format("{:.4g}", *value) : "-";
}

std::string text_line(const OrderedJson& text) {
  const auto count = [&](const char* key) { return text.value(key, std::uint64_t{0}); };
  return fmt::format("text         {}, sha256 {:.16}, {} windows of {} tokens, seed {}\n",
                     text.value("file", std::string("unnamed")),
                     text.value("sha256", std::string("unknown")), count("windows"),
                     count("seqlen"), count("seed"));
}

}  // namespace

OrderedJson to_json(const compress::CalibrationSummary& summary) {
  const auto& facts = summary.fingerprint;
  OrderedJson json = {{"calibration",
                       {{"model_sha256", value_or(facts, "model", "")},
                        {"method", value_or(facts, "method", "")},
                        {"options", OrderedJson::parse(value_or(facts, "options", "null"))},
                        {"texts", summary.texts}}}};
  OrderedJson sites = OrderedJson::array();
  for (const compress::SeenSite& site : summary.sites)
    sites.push_back({{"name", site.name},
                     {"in", site.in},
                     {"rows", site.rows},
                     {"least", or_null(site.least)},
                     {"largest", or_null(site.largest)},
                     {"bytes", site.bytes}});
  json["sites"] = std::move(sites);
  return json;
}

std::string to_text(const compress::CalibrationSummary& summary) {
  const auto& facts = summary.fingerprint;
  std::string text = fmt::format("calibration  of {}, {} sites\n", value_or(facts, "method", "?"),
                                 summary.sites.size());
  text += fmt::format("model        files of sha256 {:.16}\n", value_or(facts, "model", "unknown"));
  text += fmt::format("options      {}\n",
                      value_or(facts, "options", "not recorded (made by an older version)"));
  for (const OrderedJson& each : summary.texts) text += text_line(each);
  text += fmt::format("\n{:<40}{:>8}{:>10}{:>12}{:>12}\n", "site", "inputs", "rows", "least",
                      "largest");
  for (const compress::SeenSite& site : summary.sites)
    text += fmt::format("{:<40}{:>8}{:>10}{:>12}{:>12}\n", site.name, site.in, site.rows,
                        number(site.least), number(site.largest));
  return text;
}

}  // namespace tender::cli
