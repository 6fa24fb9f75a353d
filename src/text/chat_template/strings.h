#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tender::text {

// Python's str on UTF-8. A character is a code point; a byte that is not UTF-8 counts as one.

/// Length in bytes of the character at `at`.
std::size_t character_bytes(std::string_view text, std::size_t at);
std::size_t character_count(std::string_view text);
/// Code point of the character at `at`; U+FFFD for a byte that is not UTF-8.
char32_t character_value(std::string_view text, std::size_t at);
/// As str.isspace().
bool is_white(char32_t character);

/// Where `what` first occurs at or after `from`, in linear time; npos if nowhere.
std::size_t find_text(std::string_view text, std::string_view what, std::size_t from = 0);

enum class Ends : std::uint8_t { both, left, right };
/// @param characters  the set to strip; white space if absent
std::string_view strip_text(std::string_view text, Ends ends,
                            std::optional<std::string_view> characters = std::nullopt);

/// As str.split(separator, limit); runs of white space separate where there is no separator.
/// @param limit  most splits, or -1   @param separator  not empty
std::vector<std::string_view> split_text(std::string_view text,
                                         std::optional<std::string_view> separator,
                                         std::int64_t limit);
/// As str.splitlines().
std::vector<std::string_view> split_lines(std::string_view text);

/// Upper or lower case by the one-to-one mappings of Unicode (so the German sharp s stays).
std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
/// First character in upper case, the rest in lower case.
std::string capitalize_text(std::string_view text);
/// As str.title(): every run of cased letters is capitalized.
std::string title_text(std::string_view text);
/// True if there are cased letters and all are of that case, as str.isupper().
bool all_upper(std::string_view text);
bool all_lower(std::string_view text);
bool is_letter(char32_t character);
bool is_decimal(char32_t character);

/// As repr() of a str: quoted, with escapes for what cannot be printed.
std::string python_literal(std::string_view text);

}  // namespace tender::text
