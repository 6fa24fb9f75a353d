#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace tender {

using Json = nlohmann::json;
/// Keeps the order of insertion: what people read.
using OrderedJson = nlohmann::ordered_json;

/// Why a text is not the JSON that we accept. Readers turn it into an Error with their own code.
struct JsonProblem {
  enum class Kind : std::uint8_t { none, syntax, utf8, depth, duplicate_key, byte_order_mark };
  Kind kind = Kind::none;
  std::size_t offset = 0;   ///< byte in the text
  std::size_t depth = 0;    ///< of the object that holds a duplicate key; 1 is the outermost
  std::string key;          ///< the duplicate one
  std::string description;  ///< a sentence
};

constexpr std::size_t kMaxJsonDepth = 64;

/// Parses strict JSON: UTF-8, no byte order mark, no duplicate keys, depth at most kMaxJsonDepth,
/// nothing but white space after the value. @return the value; `problem.kind` says whether it
/// holds.
Json parse_json(std::string_view text, JsonProblem& problem);

/// As above; throws Error corrupt_file with `code` (JSON_DEPTH where the nesting is too deep).
Json parse_json(std::string_view text, const std::string& file, const std::string& code);

/// Serialized with bytes that are not UTF-8 replaced, since messages may quote damaged files.
std::string to_text(const Json& value, int indent = -1);
std::string to_text(const OrderedJson& value, int indent = -1);

}  // namespace tender
