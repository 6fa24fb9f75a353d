#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace tender::text {

constexpr std::size_t kMaxVocabulary = std::size_t{1}
                                       << 24U;  ///< ids of a vocabulary (checkpoints 9)
constexpr std::size_t kMaxTokenBytes = std::size_t{64} << 10U;  ///< of one token (checkpoints 9)

/// Ids and texts of the tokens of a model, both ways. Ids may have holes.
class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  /// @param id  in [0, kMaxVocabulary), not used before. A text that is there already keeps its
  ///            first id for find(). @return false if the id is taken
  bool add(TokenId id, std::string text);

  /// Room for so many tokens. @param count  at most kMaxVocabulary
  void reserve(std::size_t count) { ids_.reserve(count), texts_.reserve(count); }

  /// Highest id + 1.
  std::size_t size() const { return texts_.size(); }
  bool exists(TokenId id) const { return id >= 0 && at(id) < size() && texts_[at(id)] != nullptr; }
  /// Empty for ids that do not exist.
  std::string_view text(TokenId id) const {
    return exists(id) ? std::string_view(*texts_[at(id)]) : std::string_view();
  }
  std::optional<TokenId> find(std::string_view text) const {
    const auto found = ids_.find(text);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  static std::size_t at(TokenId id) { return static_cast<std::size_t>(id); }

  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::deque<std::string> repeated_;       // texts that a lower id has too
  std::vector<const std::string*> texts_;  // into the two above, whose nodes never move
};

}  // namespace tender::text
