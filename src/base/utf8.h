#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tender {

/// One code point of strict UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;  ///< 1 to 4; 0 where the bytes at this place are not UTF-8
};

/// Reads the code point at the front of `text`; bytes == 0 if there is none.
CodePoint read_code_point(std::string_view text);

/// Offset of the first byte that is not part of valid UTF-8.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// How many bytes at the end of `text` begin a code point that is not complete yet (0 to 3).
std::size_t incomplete_tail(std::string_view text);

/// Appends `value` as UTF-8.
void append_utf8(char32_t value, std::string& out);

}  // namespace tender
