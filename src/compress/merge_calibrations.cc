#include "compress/merge_calibrations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/contracts.h"
#include "base/error.h"
#include "compress/attention_ranges.h"
#include "compress/stored_parts.h"
#include "quant/parts.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

// What calibrations that are merged have in common.
constexpr const char* kLowestKey = "key_low";  // of what attention reaches

constexpr std::array kShared = {"model", "method", "options"};

OrderedJson texts_of(const Fingerprint& fingerprint) {
  const auto merged = fingerprint.find(kMergedTexts);
  if (merged != fingerprint.end()) return OrderedJson::parse(merged->second);
  return OrderedJson::array({calibration_of(fingerprint)});
}

/// The float part that has one number per channel: extremes, or the loudest row.
std::size_t channels_of(const PartSource& site) {
  if (const auto keys = site.find(kLowestKey)) return keys->bytes.size() / sizeof(float);
  for (const std::string& name : site.names())
    if (name.ends_with("_largest") || name.ends_with("_loudest"))
      if (const auto part = site.find(name); part && !part->shape.empty())
        return part->shape.back();
  return 0;
}

/// Of rows as they come, or rotated where those alone were seen.
void add_numbers(const Part& part, SeenSite& seen) {
  if (part.name.starts_with("tender_seen_rotated_")) return;  // beside those as they come
  const bool lower = part.name.ends_with("_least") || part.name == kLowestKey;
  if (part.name.ends_with("_seen_rows") || part.name.ends_with("_rows")) {
    if (part.type == DType::i64)
      for (const std::int64_t rows : quant::values_of<std::int64_t>(part)) seen.rows += rows;
  } else if (part.type == DType::f32 &&
             (lower || part.name.ends_with("_largest") || part.name.ends_with("_loudest") ||
              part.name == "key_high")) {
    const bool row = part.name.ends_with("_loudest");
    for (float value : quant::values_of<float>(part)) {
      if (row) value = std::abs(value);
      auto& extreme = lower ? seen.least : seen.largest;
      if (!extreme || (lower ? value < *extreme : value > *extreme)) extreme = value;
    }
  }
}

SeenSite seen_site(const StoredCalibration& calibration, const std::string& name) {
  const model::PartReader site = calibration.parts(name);
  SeenSite seen{name, channels_of(site), 0, {}, {}, 0};
  for (const std::string& each : site.names()) {
    const auto part = site.find(each);
    add_numbers(*part, seen);
    seen.bytes += part->bytes.size();
  }
  return seen;
}

CalibrationSummary summary_of(const StoredCalibration& calibration) {
  CalibrationSummary summary{calibration.fingerprint(), texts_of(calibration.fingerprint()), {}};
  for (const std::string& site : calibration.owners())
    summary.sites.push_back(seen_site(calibration, site));
  return summary;
}

/// The texts of all, in an order that does not depend on that of the files.
OrderedJson merged_texts(const std::vector<StoredCalibration>& calibrations) {
  std::set<std::string> sorted;
  for (const StoredCalibration& calibration : calibrations)
    for (const OrderedJson& text : texts_of(calibration.fingerprint()))
      if (!sorted.insert(text.dump()).second)
        fail(ErrorKind::invalid_argument,
             {.code = "CALIBRATION_CONFLICT",
              .found = text.dump(),
              .expected = "other texts, or other windows of a text",
              .hint = "leave one of the files away, or calibrate with another --seed"},
             "the same windows of the same text stand in two of the calibrations");
  OrderedJson texts = OrderedJson::array();
  for (const std::string& text : sorted) texts.push_back(OrderedJson::parse(text));
  return texts;
}

Fingerprint merged_fingerprint(const Fingerprint& first, const OrderedJson& texts) {
  Fingerprint merged;
  for (const char* key : kShared) merged[key] = first.at(key);
  merged[kMergedTexts] = texts.dump();
  for (const char* key : {"windows", "tokens"}) {
    std::uint64_t sum = 0;
    for (const OrderedJson& text : texts) sum += text.value(key, std::uint64_t{0});
    merged["calibration." + std::string(key)] = std::to_string(sum);
  }
  return merged;
}

std::vector<StoredCalibration> opened(std::span<const std::filesystem::path> paths) {
  std::vector<StoredCalibration> calibrations;
  calibrations.emplace_back(paths[0], Fingerprint());
  Fingerprint expected;
  for (const char* key : kShared) {
    const Fingerprint& first = calibrations[0].fingerprint();
    const auto found = first.find(key);
    if (found == first.end())
      fail(ErrorKind::invalid_input,
           {.code = "CK_FINGERPRINT",
            .file = paths[0].string(),
            .item = key,
            .found = "missing",
            .expected = "a calibration that names its " + std::string(key),
            .hint = "calibrate again with this version of tender"},
           "does not say of which {} it is", key);
    expected[key] = found->second;
  }
  for (const std::filesystem::path& path : paths.subspan(1)) {
    calibrations.emplace_back(path, expected);
    if (calibrations.back().owners() != calibrations[0].owners())
      fail(ErrorKind::corrupt_file,
           {.code = "CK_CALIBRATION",
            .file = path.string(),
            .found = fmt::format("{} sites", calibrations.back().owners().size()),
            .expected = fmt::format("the {} sites of {}", calibrations[0].owners().size(),
                                    paths[0].string())},
           "has other sites than the first calibration");
  }
  return calibrations;
}

void merge_site(const std::vector<StoredCalibration>& calibrations, const std::string& owner,
                const quant::MethodEntry& method, const Json& options, PartSink& sink) {
  // What is seen depends on the number of channels alone.
  const quant::SiteShape shape{.in = channels_of(calibrations[0].parts(owner)), .outs = {1}};
  const auto seen = method.quantizer(options, shape);
  seen->load_calibration(calibrations[0].parts(owner));
  for (std::size_t i = 1; i < calibrations.size(); ++i)
    seen->merge_calibration(calibrations[i].parts(owner));
  seen->save_calibration(sink);
}

void merge_attention(const std::vector<StoredCalibration>& calibrations, const std::string& owner,
                     PartSink& sink) {
  const model::PartReader first = calibrations[0].parts(owner);
  const Part keys = quant::get_ranked(first, kLowestKey, DType::f32, 2);
  model::ModelInfo info;
  info.heads = info.kv_heads = keys.shape[0];
  info.head_width = keys.shape[1];
  AttentionRanges seen(info);
  seen.load(first);
  for (std::size_t i = 1; i < calibrations.size(); ++i) {
    AttentionRanges other(info);
    other.load(calibrations[i].parts(owner));
    seen.merge(other);
  }
  seen.save(sink);
}

}  // namespace

bool is_stored_calibration(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  try {
    const MappedFile file(path);
    return io::looks_like_safetensors(file.bytes()) &&
           says_calibration(io::parse_safetensors(file.bytes(), path.string()));
  } catch (const Error&) {
    return false;  // whoever opens it as a model says what is wrong with it
  }
}

CalibrationSummary summarize_calibration(const std::filesystem::path& path) {
  return summary_of(StoredCalibration(path, {}));
}

CalibrationSummary merge_calibrations(std::span<const std::filesystem::path> paths,
                                      const std::filesystem::path& output, Overwrite overwrite) {
  require(paths.size() >= 2, "one calibration is merged with another");
  check_writable(output, overwrite);
  const std::vector<StoredCalibration> calibrations = opened(paths);
  const OrderedJson texts = merged_texts(calibrations);
  const Fingerprint& first = calibrations[0].fingerprint();
  const quant::MethodEntry& method = quant::method_of_checkpoint(first.at("method"), paths[0]);
  const Json options = parse_json(first.at("options"), paths[0].string(), "CK_CALIBRATION");
  StoredParts parts;
  for (const std::string& owner : calibrations[0].owners()) {
    StoredParts::Sink sink(parts, owner);
    if (calibrations[0].parts(owner).find(kLowestKey))
      merge_attention(calibrations, owner, sink);
    else
      merge_site(calibrations, owner, method, options, sink);
  }
  std::vector<io::TensorToWrite> tensors;
  parts.list(tensors);
  save_calibration(output, overwrite, std::move(tensors), merged_fingerprint(first, texts));
  return summarize_calibration(output);
}

}  // namespace tender::compress
