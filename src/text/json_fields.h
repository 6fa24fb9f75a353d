#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/regex.h"

namespace tender::text {

/// Typed access to one object of a tokenizer file. What has another type than it should is
/// corrupt_file TK_JSON, with the name of the field.
class JsonFields {
 public:
  /// @param where  name of the object for messages, such as "pre_tokenizer"
  JsonFields(const Json& object, std::string file, std::string where);

  const std::string& file() const { return file_; }
  const std::string& where() const { return where_; }
  const Json& json() const { return object_; }

  /// The field; null if it is absent or JSON's null.
  const Json* find(const std::string& name) const;
  bool boolean(const std::string& name, bool otherwise) const;
  std::string string(const std::string& name) const;
  std::optional<std::string> find_string(const std::string& name) const;
  std::optional<std::int64_t> find_integer(const std::string& name) const;
  /// An object or an array inside; refused if it is absent.
  JsonFields object(const std::string& name) const;
  const Json& array(const std::string& name) const;
  std::string type() const { return string("type"); }

  [[noreturn]] void refuse(const std::string& name, std::string_view expected) const;
  /// An `unsupported` TK_COMPONENT: well formed, but not known here.
  [[noreturn]] void unknown_component(std::string_view what) const;

 private:
  const Json& object_;
  std::string file_;
  std::string where_;
};

/// `{"String": …}` or `{"Regex": …}`, as Split and Replace have them under `pattern`.
Pattern pattern_field(const JsonFields& fields);

}  // namespace tender::text
