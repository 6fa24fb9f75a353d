#include "text/json_fields.h"

namespace tender::text {

JsonFields::JsonFields(const Json& object, std::string file, std::string where)
    : object_(object), file_(std::move(file)), where_(std::move(where)) {
  if (!object_.is_object()) refuse("", "an object");
}

const Json* JsonFields::find(const std::string& name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::boolean(const std::string& name, bool otherwise) const {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(name, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::find_string(const std::string& name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(name, "a string");
  return value->get<std::string>();
}

std::string JsonFields::string(const std::string& name) const {
  auto value = find_string(name);
  if (!value) refuse(name, "a string");
  return *std::move(value);
}

std::optional<std::int64_t> JsonFields::find_integer(const std::string& name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) refuse(name, "an integer");
  // Beyond int64 is out of every range that a caller checks.
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX) return INT64_MAX;
  return value->get<std::int64_t>();
}

JsonFields JsonFields::object(const std::string& name) const {
  const Json* value = find(name);
  if (value == nullptr) refuse(name, "an object");
  return {*value, file_, where_.empty() ? name : where_ + "." + name};
}

const Json& JsonFields::array(const std::string& name) const {
  const Json* value = find(name);
  if (value == nullptr || !value->is_array()) refuse(name, "a list");
  return *value;
}

void JsonFields::refuse(const std::string& name, std::string_view expected) const {
  const std::string item = name.empty() ? where_ : where_.empty() ? name : where_ + "." + name;
  const Json* value = object_.is_object() && !name.empty() ? find(name) : &object_;
  const std::string found = value == nullptr ? "nothing" : value->type_name();
  fail(ErrorKind::corrupt_file,
       {.code = "TK_JSON",
        .file = file_,
        .item = item,
        .found = found,
        .expected = std::string(expected),
        .hint = "the file is damaged, or not of the kind that its name says"},
       "{}: found {}, expected {}", item.empty() ? "the document" : quote(item), found, expected);
}

void JsonFields::unknown_component(std::string_view what) const {
  fail(ErrorKind::unsupported,
       {.code = "TK_COMPONENT",
        .file = file_,
        .item = where_,
        .found = std::string(what),
        .expected = "a component listed in docs/tokenizers.md",
        .hint = "this build cannot run the model's tokenizer"},
       "{} {} is not supported", where_, quote(what));
}

Pattern pattern_field(const JsonFields& fields) {
  const JsonFields pattern = fields.object("pattern");
  if (const auto literal = pattern.find_string("String")) {
    if (literal->empty()) pattern.refuse("String", "a text that is not empty");
    return Pattern(*literal);
  }
  return Pattern(Regex(pattern.string("Regex"), fields.file()));
}

}  // namespace tender::text
