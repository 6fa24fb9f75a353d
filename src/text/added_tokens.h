#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "text/flat_map.h"
#include "text/tokenizer.h"

namespace tender::text {

/// A token that is found in the text before anything else; the fields of `added_tokens` in
/// tokenizer.json.
struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  ///< not beside a letter or digit
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< … and behind it
  bool normalized = false;   ///< found in the normalized text, by its normalized content
  bool special = false;      ///< control token: literal mode does not look for it
  bool continues =
      false;  ///< the text behind it gets no prefix of its own (SentencePiece's user symbols)
};

/// Part of a text: a token that was found, or what lies between (`token` is null).
struct Segment {
  std::string_view text;
  const AddedToken* token = nullptr;
};

/// Finds a set of texts, at every place the longest one.
class TokenMatcher {
 public:
  /// @param pattern  not empty
  void add(std::string_view pattern, std::size_t index);
  /// The longest pattern at the front of `text`: its index and length.
  std::optional<std::pair<std::size_t, std::size_t>> match(std::string_view text) const;
  /// Gives index and length of every pattern that `text` begins with, shortest first.
  void for_each_prefix(std::string_view text,
                       FunctionRef<void(std::size_t, std::size_t)> sink) const;
  /// Whether some pattern begins with this byte.
  bool may_begin(char byte) const { return begins_[static_cast<unsigned char>(byte)]; }
  bool empty() const { return nodes_ == 1; }

 private:
  FlatMap edges_;  // node << 8 | byte → node
  std::vector<std::int64_t> ends_ = {-1};
  std::size_t nodes_ = 1;
  std::vector<bool> begins_ = std::vector<bool>(256);
};

class AddedTokens {
 public:
  /// @param normalize  what the tokenizer does to text; for the tokens that are `normalized`
  AddedTokens(std::vector<AddedToken> tokens,
              FunctionRef<std::string(const std::string&)> normalize);

  const std::vector<AddedToken>& all() const { return tokens_; }
  const AddedToken* find(TokenId id) const;
  const AddedToken* find(std::string_view content) const;

  enum class Pass : std::uint8_t { raw, normalized };
  bool empty(Pass pass) const { return matcher(pass).empty(); }
  /// Gives the parts of `text` in order, none of them empty.
  /// @param parse_special  look for special tokens too
  void split(std::string_view text, Pass pass, bool parse_special,
             FunctionRef<void(const Segment&)> sink) const;

 private:
  const TokenMatcher& matcher(Pass pass) const { return pass == Pass::raw ? raw_ : normalized_; }

  std::vector<AddedToken> tokens_;
  std::unordered_map<TokenId, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  TokenMatcher raw_;
  TokenMatcher normalized_;
};

}  // namespace tender::text
