#include "text/chat_template/strings.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/utf8.h"

namespace tender::text {
namespace {

utf8proc_category_t category(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

bool is_upper(char32_t character) {
  return category(character) == UTF8PROC_CATEGORY_LU || category(character) == UTF8PROC_CATEGORY_LT;
}

bool is_lower(char32_t character) { return category(character) == UTF8PROC_CATEGORY_LL; }

char32_t to_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t to_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t to_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

/// Every character through `map`; bytes that are not UTF-8 stay.
template <class Map>
std::string map_characters(std::string_view text, Map&& map) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text.substr(at));
    if (point.bytes == 0)
      out += text[at++];
    else
      append_utf8(map(point.value), out), at += point.bytes;
  }
  return out;
}

bool contains(std::string_view set, std::string_view character) {
  for (std::size_t at = 0; at < set.size(); at += character_bytes(set, at))
    if (set.substr(at, character_bytes(set, at)) == character) return true;
  return false;
}

/// Start of the last character of a text that is not empty.
std::size_t last_character(std::string_view text) {
  for (std::size_t back = 1; back <= 4 && back <= text.size(); ++back)
    if (character_bytes(text, text.size() - back) == back) return text.size() - back;
  return text.size() - 1;
}

bool ends_line(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

std::vector<std::string_view> split_white(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> parts;
  text = strip_text(text, Ends::left);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.push_back(text);  // white space at the end of the rest stays, as in Python
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_white(character_value(text, end)))
      end += character_bytes(text, end);
    parts.push_back(text.substr(0, end));
    text = strip_text(text.substr(end), Ends::left);
  }
  return parts;
}

bool is_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

}  // namespace

std::size_t character_bytes(std::string_view text, std::size_t at) {
  if (static_cast<unsigned char>(text[at]) < 0x80) return 1;
  return std::max<std::size_t>(1, read_code_point(text.substr(at, 4)).bytes);
}

std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at)) ++count;
  return count;
}

char32_t character_value(std::string_view text, std::size_t at) {
  const CodePoint point = read_code_point(text.substr(at, 4));
  return point.bytes == 0 ? U'\ufffd' : point.value;
}

bool is_white(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::size_t find_text(std::string_view text, std::string_view what, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  // memmem, for std::string_view::find takes quadratic time on repetitive text
  const void* found = ::memmem(text.data() + from, text.size() - from, what.data(), what.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::string_view strip_text(std::string_view text, Ends ends,
                            std::optional<std::string_view> characters) {
  const auto strips = [&](std::size_t at, std::size_t bytes) {
    return characters ? contains(*characters, text.substr(at, bytes))
                      : is_white(character_value(text, at));
  };
  while (ends != Ends::right && !text.empty() && strips(0, character_bytes(text, 0)))
    text.remove_prefix(character_bytes(text, 0));
  while (ends != Ends::left && !text.empty()) {
    const std::size_t last = last_character(text);
    if (!strips(last, text.size() - last)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

std::vector<std::string_view> split_text(std::string_view text,
                                         std::optional<std::string_view> separator,
                                         std::int64_t limit) {
  if (!separator) return split_white(text, limit);
  std::vector<std::string_view> parts;
  std::size_t from = 0;
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
    const std::size_t found = find_text(text, *separator, from);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(from, found - from));
    from = found + separator->size();
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t from = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = character_bytes(text, at);
    if (!ends_line(character_value(text, at))) {
      at += bytes;
      continue;
    }
    lines.push_back(text.substr(from, at - from));
    at += text.substr(at).starts_with("\r\n") ? 2 : bytes;
    from = at;
  }
  if (from < text.size()) lines.push_back(text.substr(from));
  return lines;
}

std::string upper_text(std::string_view text) { return map_characters(text, to_upper); }
std::string lower_text(std::string_view text) { return map_characters(text, to_lower); }

std::string capitalize_text(std::string_view text) {
  bool first = true;
  return map_characters(
      text, [&](char32_t c) { return std::exchange(first, false) ? to_title(c) : to_lower(c); });
}

std::string title_text(std::string_view text) {
  bool inside = false;
  return map_characters(text, [&](char32_t c) {
    const bool cased = is_upper(c) || is_lower(c);
    return std::exchange(inside, cased) ? to_lower(c) : to_title(c);
  });
}

bool all_upper(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
    const char32_t c = character_value(text, at);
    if (is_lower(c)) return false;
    any = any || is_upper(c);
  }
  return any;
}

bool all_lower(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
    const char32_t c = character_value(text, at);
    if (is_upper(c)) return false;
    any = any || is_lower(c);
  }
  return any;
}

bool is_letter(char32_t c) {
  return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

std::string python_literal(std::string_view text) {
  const bool single =
      text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char mark = single ? '\'' : '"';
  std::string out(1, mark);
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
    const char32_t c = character_value(text, at);
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\\' || c == static_cast<char32_t>(mark))
      out += '\\', out += static_cast<char>(c);
    else if (is_printable(c))
      append_utf8(c, out);
    else if (c < 0x100)
      out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c));
    else if (c < 0x10000)
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    else
      out += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c));
  }
  return out + mark;
}

}  // namespace tender::text
