#include "io/json_cursor.h"

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace tender::io {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

void JsonCursor::syntax_error(std::string_view expected) const {
  const std::string found = at_ < text_.size() ? quote(text_.substr(at_, 1)) : "the end";
  fail(ErrorKind::corrupt_file,
       {.code = code_,
        .file = file_,
        .offset = offset(),
        .found = found,
        .expected = std::string(expected),
        .hint = "the file is damaged or was cut short; get it again"},
       "is not valid JSON: found {}, expected {}", found, expected);
}

void JsonCursor::expect(char c, std::string_view what) {
  if (peek() != c) syntax_error(what);
  ++at_;
}

void JsonCursor::enter() {
  if (++depth_ <= kMaxJsonDepth) return;
  fail(ErrorKind::corrupt_file,
       {.code = "JSON_DEPTH",
        .file = file_,
        .offset = offset(),
        .found = fmt::format("more than {} nested values", kMaxJsonDepth),
        .expected = fmt::format("at most {}", kMaxJsonDepth),
        .hint = "the file is damaged or hostile"},
       "nests JSON values deeper than {}", kMaxJsonDepth);
}

void JsonCursor::object(FunctionRef<void(std::string_view)> member) {
  expect('{', "'{'");
  enter();
  if (peek() == '}') {
    ++at_;
  } else {
    for (char next = ','; next == ',';) {
      if (peek() != '"') syntax_error("a key in quotes");
      key_at_ = at_;
      const std::string_view key = string();
      colon();
      member(key);
      next = peek();
      if (next != ',' && next != '}') syntax_error("',' or '}'");
      ++at_;
    }
  }
  --depth_;
}

void JsonCursor::array(FunctionRef<void()> element) {
  expect('[', "'['");
  enter();
  if (peek() == ']') {
    ++at_;
  } else {
    for (char next = ','; next == ',';) {
      element();
      next = peek();
      if (next != ',' && next != ']') syntax_error("',' or ']'");
      ++at_;
    }
  }
  --depth_;
}

std::string_view JsonCursor::string() {
  expect('"', "a string");
  const std::size_t begin = at_;
  const auto plain = [&] {
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20)
      ++at_;
    if (at_ >= text_.size()) syntax_error("'\"'");
    if (static_cast<unsigned char>(text_[at_]) < 0x20) syntax_error("no bare control character");
  };
  plain();
  if (text_[at_] == '"') return text_.substr(begin, at_++ - begin);
  decoded_.assign(text_.substr(begin, at_ - begin));
  while (text_[at_] != '"') {
    ++at_;
    escape();
    const std::size_t from = at_;
    plain();
    decoded_.append(text_.substr(from, at_ - from));
  }
  ++at_;
  return decoded_;
}

/// The part of an escape after its backslash.
void JsonCursor::escape() {
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  if (const std::size_t known = kNames.find(c); c != '\0' && known != std::string_view::npos) {
    decoded_ += kValues[known];
    ++at_;
    return;
  }
  if (c != 'u') syntax_error("an escape of JSON");
  ++at_;
  char32_t value = hex4();
  if (value >= 0xdc00 && value <= 0xdfff) syntax_error("no lone surrogate");
  if (value >= 0xd800 && value <= 0xdbff) {
    if (text_.substr(at_, 2) != "\\u") syntax_error("the second half of a surrogate pair");
    at_ += 2;
    const char32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) syntax_error("the second half of a surrogate pair");
    value = 0x10000 + ((value - 0xd800) << 10U) + (low - 0xdc00);
  }
  append_utf8(value, decoded_);
}

std::uint32_t JsonCursor::hex4() {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const auto digit = [&]() -> int {
      if (is_digit(c)) return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      if (c >= 'A' && c <= 'F') return c - 'A' + 10;
      return -1;
    }();
    if (digit < 0) syntax_error("four hexadecimal digits");
    value = value << 4U | static_cast<std::uint32_t>(digit);
  }
  return value;
}

std::string_view JsonCursor::number() {
  const std::size_t begin = at_;
  const auto digits = [&] {
    if (at_ >= text_.size() || !is_digit(text_[at_])) syntax_error("a digit");
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  };
  const auto at = [&](std::string_view set) {
    return at_ < text_.size() && set.find(text_[at_]) != std::string_view::npos;
  };
  if (at("-")) ++at_;
  if (at("0")) {
    ++at_;
    if (at("0123456789")) syntax_error("no leading zero");
  } else {
    digits();
  }
  if (at(".")) ++at_, digits();
  if (at("eE")) {
    ++at_;
    if (at("+-")) ++at_;
    digits();
  }
  return text_.substr(begin, at_ - begin);
}

JsonCursor::Integer JsonCursor::integer(std::uint64_t& value) {
  const char first = peek();
  if (first != '-' && !is_digit(first)) {
    skip();
    return Integer::not_a_number;
  }
  const std::string_view text = number();
  if (first == '-') return Integer::negative;
  value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return Integer::fractional;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (static_cast<std::uint64_t>(INT64_MAX) - digit) / 10) return Integer::too_large;
    value = value * 10 + digit;
  }
  return Integer::good;
}

void JsonCursor::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) syntax_error("a value");
  at_ += word.size();
}

void JsonCursor::skip() {
  switch (peek()) {
    case '{':
      return object([&](std::string_view) { skip(); });
    case '[':
      return array([&] { skip(); });
    case '"':
      string();
      return;
    case 't':
      return literal("true");
    case 'f':
      return literal("false");
    case 'n':
      return literal("null");
    case '-':
      number();
      return;
    default:
      if (!is_digit(peek())) syntax_error("a value");
      number();
  }
}

}  // namespace tender::io
