#include "model/hf_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace tender::model {

HfConfig::HfConfig(const Json& object, std::string file, std::string prefix)
    : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

const Json* HfConfig::find(std::string_view key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  if (found == object_.end() || found->is_null()) return nullptr;
  return &*found;
}

bool HfConfig::has(std::string_view key) const { return find(key) != nullptr; }

std::string HfConfig::shown(std::string_view key) const {
  const Json* value = find(key);
  return value == nullptr ? "missing" : quote(to_text(*value), 60);
}

void HfConfig::refuse(std::string_view key, const std::string& expected) const {
  fail(ErrorKind::corrupt_file,
       {.code = "HF_PARAM",
        .file = file_,
        .item = prefix_ + std::string(key),
        .found = shown(key),
        .expected = expected,
        .hint = "the configuration is damaged or not that of a model"},
       "{}{} is {}: expected {}", prefix_, key, shown(key), expected);
}

void HfConfig::unsupported(std::string_view key, const std::string& supported) const {
  fail(ErrorKind::unsupported,
       {.code = "ARCH_FEATURE",
        .file = file_,
        .item = prefix_ + std::string(key),
        .found = shown(key),
        .expected = supported,
        .hint = "this build runs only models with " + supported},
       "{}{} is {}: this build supports {}", prefix_, key, shown(key), supported);
}

std::size_t HfConfig::size(std::string_view key, std::size_t least, std::size_t most) const {
  const std::string expected = fmt::format("an integer in [{}, {}]", least, most);
  const Json* value = find(key);
  if (value == nullptr || !value->is_number_unsigned()) refuse(key, expected);
  const auto number = value->get<std::uint64_t>();
  if (number < least || number > most) refuse(key, expected);
  return static_cast<std::size_t>(number);
}

std::size_t HfConfig::size(std::string_view key, std::size_t least, std::size_t most,
                           std::size_t fallback) const {
  return has(key) ? size(key, least, most) : fallback;
}

double HfConfig::number(std::string_view key, double least, double most) const {
  const std::string expected = fmt::format("a number in [{}, {}]", least, most);
  const Json* value = find(key);
  if (value == nullptr || !value->is_number()) refuse(key, expected);
  const double number = value->get<double>();
  if (!(number >= least && number <= most)) refuse(key, expected);  // refuses NaN as well
  return number;
}

double HfConfig::number(std::string_view key, double least, double most, double fallback) const {
  return has(key) ? number(key, least, most) : fallback;
}

bool HfConfig::flag(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::string HfConfig::text(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) refuse(key, "a text");
  return value->get<std::string>();
}

std::vector<double> HfConfig::numbers(std::string_view key, std::size_t count, double least,
                                      double most) const {
  const std::string expected = fmt::format("{} numbers in [{}, {}]", count, least, most);
  const Json* value = find(key);
  if (value == nullptr || !value->is_array() || value->size() != count) refuse(key, expected);
  std::vector<double> numbers;
  for (const Json& entry : *value) {
    if (!entry.is_number()) refuse(key, expected);
    numbers.push_back(entry.get<double>());
    if (!(numbers.back() >= least && numbers.back() <= most)) refuse(key, expected);
  }
  return numbers;
}

std::vector<std::string> HfConfig::texts(std::string_view key, std::size_t count) const {
  const std::string expected = fmt::format("{} texts", count);
  const Json* value = find(key);
  if (value == nullptr || !value->is_array() || value->size() != count) refuse(key, expected);
  std::vector<std::string> texts;
  for (const Json& entry : *value) {
    if (!entry.is_string()) refuse(key, expected);
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

std::optional<HfConfig> HfConfig::part(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(key, "an object");
  return HfConfig(*value, file_, prefix_ + std::string(key) + ".");
}

}  // namespace tender::model
