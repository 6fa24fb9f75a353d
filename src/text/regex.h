#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace tender::text {

/// Bytes [begin, end) of a text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// What a thread needs to match; one per call of encode().
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  pcre2_real_match_data_8* data_;
  pcre2_real_match_context_8* context_;
  pcre2_real_jit_stack_8* stack_;
};

/// A pattern of a tokenizer file, run by PCRE2 (compiled to machine code where it can be).
///
/// Tokenizer files are written for Oniguruma. Where the two differ and it matters, the pattern is
/// rewritten: \s and \w and their opposites mean what they mean there. What
/// PCRE2 would read in another sense (nested classes, && in a class, \h) is refused.
class Regex {
 public:
  /// @throws Error unsupported (TK_REGEX), with the place in the pattern
  Regex(std::string_view pattern, const std::string& file);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// The first match that begins at or after `from`.
  /// @param text  UTF-8
  /// @throws Error invalid_input (TK_REGEX) where the limits of effort are exceeded
  std::optional<Span> find(std::string_view text, std::size_t from, RegexScratch& scratch) const;

 private:
  std::string pattern_;
  std::string file_;
  pcre2_real_code_8* code_ = nullptr;
  bool compiled_ = false;  // to machine code
};

/// What Split and Replace look for: a text or a regular expression.
class Pattern {
 public:
  explicit Pattern(std::string literal) : what_(std::move(literal)) {}
  explicit Pattern(Regex regex) : what_(std::move(regex)) {}

  std::optional<Span> find(std::string_view text, std::size_t from, RegexScratch& scratch) const;

 private:
  std::variant<std::string, Regex> what_;
};

/// Where to look next after `match`: behind it, and one character further if it is empty.
std::size_t after(std::string_view text, Span match);

}  // namespace tender::text
