#include "text/unicode.h"

#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "base/contracts.h"
#include "base/utf8.h"

namespace tender::text {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

std::string_view last_bytes(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0 && (static_cast<unsigned char>(text[--begin]) & 0xc0U) == 0x80U) {
  }
  return text.substr(begin);
}

/// Every character of `text` through `change(c, out)`.
template <class Change>
std::string mapped(std::string_view text, const Change& change) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint next = read_code_point(text);
    require(next.bytes != 0, "text to be normalized is UTF-8");
    change(next.value, out);
    text.remove_prefix(next.bytes);
  }
  return out;
}

}  // namespace

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_word_character(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200c || c == 0x200d;  // joiners count as part of a word
  }
}

std::string normal_form(std::string_view text, NormalForm form) {
  if (text.empty()) return {};
  unsigned options = UTF8PROC_STABLE;
  const bool composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  options |= composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::nfkc || form == NormalForm::nfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                                   static_cast<utf8proc_option_t>(options));
  if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  require(length >= 0, "text to be normalized is UTF-8");
  std::string out(reinterpret_cast<const char*>(result), static_cast<std::size_t>(length));
  std::free(result);
  return out;
}

std::string lower_case(std::string_view text) {
  return mapped(text, [](char32_t c, std::string& out) {
    if (c == 0x130)
      out += "i\xcc\x87";
    else
      append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  });
}

std::string without_marks(std::string_view text) {
  return mapped(text, [](char32_t c, std::string& out) {
    const auto kind = category(c);
    const bool mark = kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
                      kind == UTF8PROC_CATEGORY_ME;
    if (!mark) append_utf8(c, out);
  });
}

std::size_t leading_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const CodePoint next = read_code_point(text.substr(length));
    if (next.bytes == 0 || !is_white_space(next.value)) break;
    length += next.bytes;
  }
  return length;
}

std::size_t trailing_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    const std::string_view last = last_bytes(text.substr(0, text.size() - length));
    const CodePoint c = read_code_point(last);
    if (c.bytes != last.size() || !is_white_space(c.value)) break;
    length += c.bytes;
  }
  return length;
}

char32_t last_character(std::string_view text) { return read_code_point(last_bytes(text)).value; }

}  // namespace tender::text
