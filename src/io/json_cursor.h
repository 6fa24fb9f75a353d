#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/function_ref.h"

namespace tender::io {

/// Walks strict JSON without building it: headers of 10^6 entries take a fraction of a second and
/// no memory. The text must be UTF-8 (checked by the caller).
class JsonCursor {
 public:
  /// How a member or number may be written wrongly although it is JSON.
  enum class Integer : std::uint8_t { good, negative, fractional, too_large, not_a_number };

  /// @param file, code  for errors of syntax (corrupt_file; JSON_DEPTH where nesting is too deep)
  /// @param base        offset of the text in its file
  JsonCursor(std::string_view text, std::string file, std::string code, std::uint64_t base = 0)
      : text_(text), file_(std::move(file)), code_(std::move(code)), base_(base) {}

  std::size_t position() const { return at_; }
  void seek(std::size_t position) { at_ = position; }
  std::uint64_t offset() const { return base_ + at_; }

  /// Skips white space and shows the next character; NUL at the end of the text.
  char peek() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return c;
      ++at_;
    }
    return '\0';
  }
  bool at_end() { return peek() == '\0' && at_ >= text_.size(); }

  /// Steps through an object: member(key) must consume the value. Keys hold until the next call.
  void object(FunctionRef<void(std::string_view key)> member);
  /// Where the key of the member at hand began, with its quote.
  std::size_t key_position() const { return key_at_; }
  /// Steps through an array: element() must consume one value.
  void array(FunctionRef<void()> element);
  /// Consumes the ':' between a key that string() gave and its value.
  void colon() { expect(':', "':'"); }
  /// A string, decoded; the view holds until the next string is read.
  std::string_view string();
  /// An integer in [0, 2^63); whatever else stands there is consumed and named.
  Integer integer(std::uint64_t& value);
  /// Consumes any value.
  void skip();

  [[noreturn]] void syntax_error(std::string_view expected) const;

 private:
  void expect(char c, std::string_view what);
  void enter();
  void escape();
  std::uint32_t hex4();
  void literal(std::string_view word);
  std::string_view number();

  std::string_view text_;
  std::string file_;
  std::string code_;
  std::uint64_t base_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::size_t key_at_ = 0;
  std::string decoded_;
};

}  // namespace tender::io
