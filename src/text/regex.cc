#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace tender::text {
namespace {

// A whole pre-token is one match, and none of the known patterns needs more than a few steps for
// each of its characters; ten million steps last about a tenth of a second.
constexpr std::uint32_t kMatchLimit = 10'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 << 10;  // only without machine code
constexpr std::size_t kStackBytes = 1 << 20;
constexpr std::size_t kMaxPatternBytes = 64 << 10;

// Oniguruma's classes: White_Space, and letters, marks, numbers, connectors. PCRE2's own \s has
// U+180E as well, its \w lacks marks.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{N}\p{Pc})";

[[noreturn]] void refuse(std::string_view pattern, const std::string& file, std::size_t offset,
                         std::string_view why) {
  fail(ErrorKind::unsupported,
       {.code = "TK_REGEX",
        .file = file,
        .item = std::string(pattern),
        .found = std::string(why),
        .expected = "a pattern that PCRE2 takes",
        .hint = "the tokenizer uses a regular expression that this program cannot run"},
       "pattern {} at {}: {}", quote(pattern), offset, why);
}

/// The pattern in PCRE2's words.
std::string translate(std::string_view pattern, const std::string& file) {
  std::string out;
  bool in_class = false;
  std::size_t class_begin = 0;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c == '\\' && at + 1 < pattern.size()) {
      const char kind = pattern[++at];
      if (kind == 'h' || kind == 'H') refuse(pattern, file, at, "\\h is not supported");
      const bool space = kind == 's' || kind == 'S';
      const bool word = kind == 'w' || kind == 'W';
      const bool negative = kind == 'S' || kind == 'W';
      if ((space || word) && !(negative && in_class)) {
        const std::string_view set = space ? kSpace : kWord;
        out += in_class ? std::string(set) : fmt::format("[{}{}]", negative ? "^" : "", set);
      } else {
        out += c, out += kind;
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      class_begin = at + 1 < pattern.size() && pattern[at + 1] == '^' ? at + 1 : at;
    } else if (in_class && c == ']' && at > class_begin + 1) {
      in_class = false;
    } else if (in_class && c == '[') {
      const bool posix = at + 1 < pattern.size() && pattern[at + 1] == ':';
      const std::size_t end = posix ? pattern.find(":]", at + 2) : std::string_view::npos;
      if (end == std::string_view::npos) refuse(pattern, file, at, "a class within a class");
      out += pattern.substr(at, end + 2 - at);
      at = end + 1;
      continue;
    } else if (in_class && c == '&' && pattern.substr(at).starts_with("&&")) {
      refuse(pattern, file, at, "an intersection of classes");
    }
    out += c;
  }
  return out;
}

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  const int length = pcre2_get_error_message(code, buffer, sizeof buffer);
  std::string out;
  for (int i = 0; i < length; ++i) out += static_cast<char>(buffer[i]);
  return out;
}

PCRE2_SPTR units(std::string_view text) {
  // An empty view may hold a null pointer, which PCRE2 refuses.
  return reinterpret_cast<PCRE2_SPTR>(text.data() == nullptr ? "" : text.data());
}

}  // namespace

RegexScratch::RegexScratch()
    : data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)),
      stack_(pcre2_jit_stack_create(32 << 10, kStackBytes, nullptr)) {
  if (data_ == nullptr || context_ == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context_, kMatchLimit);
  pcre2_set_heap_limit(context_, kHeapLimitKib);
  if (stack_ != nullptr) pcre2_jit_stack_assign(context_, nullptr, stack_);
}

RegexScratch::~RegexScratch() {
  pcre2_jit_stack_free(stack_);
  pcre2_match_context_free(context_);
  pcre2_match_data_free(data_);
}

Regex::Regex(std::string_view pattern, const std::string& file) : pattern_(pattern), file_(file) {
  if (pattern.empty()) refuse(pattern, file, 0, "is empty");
  if (pattern.size() > kMaxPatternBytes) refuse(pattern, file, 0, "is longer than 64 KiB");
  const std::string translated = translate(pattern, file);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_ = pcre2_compile(units(translated), translated.size(),
                        PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code_ == nullptr) refuse(pattern, file, offset, message_of(error));
  compiled_ = pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() { pcre2_code_free(code_); }

Regex::Regex(Regex&& other) noexcept
    : pattern_(std::move(other.pattern_)),
      file_(std::move(other.file_)),
      code_(std::exchange(other.code_, nullptr)),
      compiled_(other.compiled_) {}

Regex& Regex::operator=(Regex&& other) noexcept {
  std::swap(pattern_, other.pattern_);
  std::swap(file_, other.file_);
  std::swap(code_, other.code_);
  std::swap(compiled_, other.compiled_);
  return *this;
}

std::optional<Span> Regex::find(std::string_view text, std::size_t from,
                                RegexScratch& scratch) const {
  const auto match = compiled_ ? pcre2_jit_match : pcre2_match;
  const int result = match(code_, units(text), text.size(), from, PCRE2_NO_UTF_CHECK, scratch.data_,
                           scratch.context_);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0)
    fail(ErrorKind::invalid_input,
         {.code = "TK_REGEX",
          .file = file_,
          .item = pattern_,
          .found = message_of(result),
          .expected = fmt::format("at most {} steps a match", kMatchLimit),
          .hint = "the tokenizer's pattern is not fit for this text"},
         "pattern {}: {}", quote(pattern_), message_of(result));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data_);
  if (bounds[0] < from || bounds[1] < bounds[0])
    refuse(pattern_, file_, 0, "moves the start of a match out of its place");
  return Span{bounds[0], bounds[1]};
}

std::optional<Span> Pattern::find(std::string_view text, std::size_t from,
                                  RegexScratch& scratch) const {
  if (const auto* regex = std::get_if<Regex>(&what_)) return regex->find(text, from, scratch);
  const auto& literal = std::get<std::string>(what_);
  const std::size_t found = text.find(literal, from);
  if (found == std::string_view::npos) return std::nullopt;
  return Span{found, found + literal.size()};
}

std::size_t after(std::string_view text, Span match) {
  if (match.end > match.begin || match.end >= text.size())
    return match.end + (match.end == match.begin);
  return match.end + std::max<std::size_t>(read_code_point(text.substr(match.end)).bytes, 1);
}

}  // namespace tender::text
