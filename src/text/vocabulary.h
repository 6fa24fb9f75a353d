#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace tender::text {

constexpr std::size_t kMaxVocabulary = std::size_t{1}
                                       << 24U;  ///< ids of a vocabulary (checkpoints 9)
constexpr std::size_t kMaxTokenBytes = std::size_t{64} << 10U;  ///< of one token (checkpoints 9)

/// Ids and texts of the tokens of a model, both ways. Ids may have holes.
///
/// All texts lie in one string and all ids in one hash table: a process makes and frees tens of
/// thousands of tokens before its first word.
class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  /// @param id  in [0, kMaxVocabulary), not used before. A text that is there already keeps its
  ///            first id for find(). @return false if the id is taken
  bool add(TokenId id, std::string_view text);

  /// Room for so many tokens. @param count  at most kMaxVocabulary
  void reserve(std::size_t count);

  /// Highest id + 1.
  std::size_t size() const { return texts_.size(); }
  bool exists(TokenId id) const {
    return id >= 0 && at(id) < size() && texts_[at(id)].bytes != kHole;
  }
  /// Empty for ids that do not exist. Holds until the next add().
  std::string_view text(TokenId id) const { return exists(id) ? text_at(id) : std::string_view(); }
  std::optional<TokenId> find(std::string_view text) const {
    const TokenId id = slots_[place(text, hash_of(text))].id;
    return id < 0 ? std::nullopt : std::optional(id);
  }

 private:
  static constexpr std::size_t kHole = std::string_view::npos;
  struct Text {
    std::size_t begin = 0;  ///< in bytes_
    std::size_t bytes = kHole;
  };
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = -1;  ///< -1 where it is free
  };

  static std::size_t at(TokenId id) { return static_cast<std::size_t>(id); }
  static std::uint32_t hash_of(std::string_view text) {
    return static_cast<std::uint32_t>(std::hash<std::string_view>()(text));
  }
  std::string_view text_at(TokenId id) const {
    const Text& text = texts_[at(id)];
    return {bytes_.data() + text.begin, text.bytes};
  }
  /// The slot that holds `text`, or the free one where it would be.
  std::size_t place(std::string_view text, std::uint32_t hash) const;

  std::string bytes_;
  std::vector<Text> texts_;                         // by id
  std::vector<Slot> slots_ = std::vector<Slot>(8);  // a power of two, at most half full
  std::size_t count_ = 0;                           // of slots that are not free
};

}  // namespace tender::text
