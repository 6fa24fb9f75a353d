#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tender::text {

/// Hash table of 64-bit keys and values in one array; keys are never all ones. Merging looks up a
/// pair of ids some ten times a word: half the time of a node-based map.
class FlatMap {
 public:
  FlatMap() : slots_(8, {kEmpty, 0}) {}

  void reserve(std::size_t count) {
    if (count * 2 > slots_.size()) rehash(std::bit_ceil(count * 2));
  }

  /// Replaces the value of a key that is there.
  void set(std::uint64_t key, std::uint64_t value) {
    reserve(count_ + 1);
    auto& slot = slots_[place(key)];
    if (slot.first == kEmpty) ++count_;
    slot = {key, value};
  }

  const std::uint64_t* find(std::uint64_t key) const {
    const auto& slot = slots_[place(key)];
    return slot.first == kEmpty ? nullptr : &slot.second;
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  std::size_t place(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t hash = key * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 32U;
    std::size_t at = static_cast<std::size_t>(hash) & mask;
    while (slots_[at].first != kEmpty && slots_[at].first != key) at = (at + 1) & mask;
    return at;
  }

  void rehash(std::size_t size) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> old(size, {kEmpty, 0});
    old.swap(slots_);
    for (const auto& slot : old)
      if (slot.first != kEmpty) slots_[place(slot.first)] = slot;
  }

  std::vector<std::pair<std::uint64_t, std::uint64_t>> slots_;  // a power of two, at most half full
  std::size_t count_ = 0;
};

}  // namespace tender::text
