#include "text/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/unicode.h"

namespace tender::text {

void TokenMatcher::add(std::string_view pattern, std::size_t index) {
  begins_[static_cast<unsigned char>(pattern.front())] = true;
  std::uint64_t node = 0;
  for (const char byte : pattern) {
    const std::uint64_t edge = node << 8U | static_cast<unsigned char>(byte);
    const std::uint64_t* next = edges_.find(edge);
    if (next != nullptr) {
      node = *next;
      continue;
    }
    edges_.set(edge, nodes_);
    node = nodes_++;
    ends_.push_back(-1);
  }
  ends_[node] = static_cast<std::int64_t>(index);
}

void TokenMatcher::for_each_prefix(std::string_view text,
                                   FunctionRef<void(std::size_t, std::size_t)> sink) const {
  std::uint64_t node = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::uint64_t* next = edges_.find(node << 8U | static_cast<unsigned char>(text[at]));
    if (next == nullptr) return;
    node = *next;
    if (ends_[node] >= 0) sink(static_cast<std::size_t>(ends_[node]), at + 1);
  }
}

std::optional<std::pair<std::size_t, std::size_t>> TokenMatcher::match(
    std::string_view text) const {
  std::optional<std::pair<std::size_t, std::size_t>> longest;
  for_each_prefix(text,
                  [&](std::size_t index, std::size_t length) { longest.emplace(index, length); });
  return longest;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens,
                         FunctionRef<std::string(const std::string&)> normalize)
    : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    by_id_.emplace(token.id, i);
    by_content_.emplace(token.content, i);
    const std::string pattern = token.normalized ? normalize(token.content) : token.content;
    if (!pattern.empty()) (token.normalized ? normalized_ : raw_).add(pattern, i);
  }
}

const AddedToken* AddedTokens::find(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

void AddedTokens::split(std::string_view text, Pass pass, bool parse_special,
                        FunctionRef<void(const Segment&)> sink) const {
  const TokenMatcher& patterns = matcher(pass);
  std::size_t done = 0;  // all before it has been given
  for (std::size_t at = 0; at < text.size();) {
    const auto found =
        patterns.may_begin(text[at]) ? patterns.match(text.substr(at)) : std::nullopt;
    if (!found) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found->first];
    std::size_t begin = at;
    std::size_t end = at + found->second;
    at = end;
    if (token.special && !parse_special) continue;
    if (token.single_word) {
      const CodePoint next = read_code_point(text.substr(end));
      if (begin > 0 && is_word_character(last_character(text.substr(0, begin)))) continue;
      if (next.bytes != 0 && is_word_character(next.value)) continue;
    }
    if (token.lstrip) begin = std::max(done, begin - trailing_space(text.substr(0, begin)));
    if (token.rstrip) end += leading_space(text.substr(end));
    if (begin < done) continue;  // inside of the white space that the token before has taken
    if (begin > done) sink({text.substr(done, begin - done), nullptr});
    sink({text.substr(begin, end - begin), &token});
    done = end;
  }
  if (done < text.size()) sink({text.substr(done), nullptr});
}

}  // namespace tender::text
