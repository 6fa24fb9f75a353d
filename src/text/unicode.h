#pragma once

#include <string>
#include <string_view>

namespace tender::text {

/// Unicode's White_Space property.
bool is_white_space(char32_t c);
/// A character of words: letter, mark, decimal digit, letter number, connector (the \w of Unicode's
/// UTS 18).
bool is_word_character(char32_t c);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
/// @param text  UTF-8
std::string normal_form(std::string_view text, NormalForm form);

/// Each character in lower case by itself (U+0130 becomes two).
std::string lower_case(std::string_view text);
/// Without its marks (categories Mn, Mc, Me).
std::string without_marks(std::string_view text);

/// Length of the white space at the front, and at the end, of UTF-8 text, in bytes.
std::size_t leading_space(std::string_view text);
std::size_t trailing_space(std::string_view text);

/// The last character of UTF-8 text; 0 for an empty one.
char32_t last_character(std::string_view text);

}  // namespace tender::text
