#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace tender::text {

/// Ids of words seen in this call of encode(): text repeats its words, so most are merged once.
///
/// Direct-mapped, one cache line a word; longer words and results are not kept. It belongs to one
/// call and needs no lock.
class WordCache {
 public:
  static constexpr std::size_t kMaxBytes = 22;
  static constexpr std::size_t kMaxIds = 9;

  /// @param text_bytes  length of the text to come: no larger a table than it can fill
  explicit WordCache(std::size_t text_bytes) {
    if (text_bytes >= 1024)
      slots_.resize(std::min<std::size_t>(std::bit_ceil(text_bytes / 16), 1U << 14U));
  }

  /// The slot for a word; null where it cannot be kept.
  struct Slot {
    std::array<std::int32_t, kMaxIds> ids;
    std::uint8_t count;
    std::uint8_t bytes;  ///< 0 for a free slot
    std::array<char, kMaxBytes> word;

    bool holds(std::string_view text) const {
      return bytes == text.size() && std::memcmp(word.data(), text.data(), text.size()) == 0;
    }
    void keep(std::string_view text, std::span<const TokenId> result) {
      if (result.size() > kMaxIds) return;
      std::copy(result.begin(), result.end(), ids.begin());
      count = static_cast<std::uint8_t>(result.size());
      bytes = static_cast<std::uint8_t>(text.size());
      std::memcpy(word.data(), text.data(), text.size());
    }
  };

  Slot* slot(std::string_view word) {
    if (slots_.empty() || word.empty() || word.size() > kMaxBytes) return nullptr;
    std::array<std::uint64_t, 3> parts{};
    std::memcpy(parts.data(), word.data(), word.size());
    std::uint64_t hash = word.size();
    for (const std::uint64_t part : parts) {
      hash = (hash ^ part) * 0x9e3779b97f4a7c15U;
      hash ^= hash >> 29U;
    }
    return &slots_[static_cast<std::size_t>(hash >> 8U) & (slots_.size() - 1)];
  }

 private:
  std::vector<Slot> slots_;
};

}  // namespace tender::text
