#include <utility>

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/gguf/gguf_structure.h"

namespace tender::io {
namespace {

using Type = GgufValue::Type;

[[noreturn]] void wrong_type(const std::string& file, std::string_view key, const GgufValue& value,
                             std::string expected) {
  fail(ErrorKind::corrupt_file,
       {.code = "GG_KEY_TYPE",
        .file = file,
        .item = std::string(key),
        .found = describe_type(value),
        .expected = expected,
        .hint = "the file was written by a faulty tool; convert the model again"},
       "key {} holds {}: expected {}", quote(key), describe_type(value), expected);
}

[[noreturn]] void missing(const std::string& file, std::string_view key) {
  fail(ErrorKind::corrupt_file,
       {.code = "GG_KEY_MISSING",
        .file = file,
        .item = std::string(key),
        .found = "no such key",
        .expected = std::string(key),
        .hint = "the metadata is incomplete; convert the model again"},
       "lacks the key {}", quote(key));
}

/// The alternative T of the value of `key`; null if the key is absent.
template <class T>
const T* find_as(const GgufMetadata& metadata, std::string_view key, const char* expected) {
  const auto found = metadata.all().find(key);
  if (found == metadata.all().end()) return nullptr;
  const T* value = std::get_if<T>(&found->second.value);
  if (value == nullptr) wrong_type(metadata.file(), key, found->second, expected);
  return value;
}

}  // namespace

std::optional<std::int64_t> GgufMetadata::find_integer(std::string_view key, std::int64_t least,
                                                       std::int64_t most) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return std::nullopt;
  const auto refuse = [&](auto value) {
    fail(ErrorKind::corrupt_file,
         {.code = "GG_PARAM",
          .file = file_,
          .item = std::string(key),
          .found = std::to_string(value),
          .expected = fmt::format("{} to {}", least, most),
          .hint = "the file is damaged, or made for another program"},
         "key {} is {}: expected {} to {}", quote(key), value, least, most);
  };
  if (const auto* u = std::get_if<std::uint64_t>(&found->second.value)) {
    if (std::cmp_less(*u, least) || std::cmp_greater(*u, most)) refuse(*u);
    return static_cast<std::int64_t>(*u);
  }
  if (const auto* i = std::get_if<std::int64_t>(&found->second.value)) {
    if (*i < least || *i > most) refuse(*i);
    return *i;
  }
  wrong_type(file_, key, found->second, "an integer");
}

std::int64_t GgufMetadata::integer(std::string_view key, std::int64_t least,
                                   std::int64_t most) const {
  const auto value = find_integer(key, least, most);
  if (!value) missing(file_, key);
  return *value;
}

std::optional<double> GgufMetadata::find_number(std::string_view key) const {
  const auto* value = find_as<double>(*this, key, "f32 or f64");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

double GgufMetadata::number(std::string_view key) const {
  const auto value = find_number(key);
  if (!value) missing(file_, key);
  return *value;
}

std::optional<bool> GgufMetadata::find_boolean(std::string_view key) const {
  const auto* value = find_as<bool>(*this, key, "bool");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::string* GgufMetadata::find_string(std::string_view key) const {
  return find_as<std::string>(*this, key, "string");
}

const std::string& GgufMetadata::string(std::string_view key) const {
  const std::string* value = find_string(key);
  if (value == nullptr) missing(file_, key);
  return *value;
}

const std::vector<std::string>* GgufMetadata::find_strings(std::string_view key) const {
  return find_as<std::vector<std::string>>(*this, key, "array of string");
}

const std::vector<double>* GgufMetadata::find_numbers(std::string_view key) const {
  return find_as<std::vector<double>>(*this, key, "array of f32 or f64");
}

const std::vector<std::int64_t>* GgufMetadata::find_integers(std::string_view key) const {
  const auto* value = find_as<std::vector<std::int64_t>>(*this, key, "array of integers");
  if (value != nullptr && values_.find(key)->second.element == Type::boolean)
    wrong_type(file_, key, values_.find(key)->second, "array of integers");
  return value;
}

}  // namespace tender::io
