#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tender::io {

/// Finds names that come from files: a hash table over names that the caller stores, 4 to 16 bytes
/// a name.
///
/// The hash is a polynomial modulo 2^61 - 1 at a point drawn once per process, so nobody can write
/// a file whose names collide (Carter and Wegman 1979); no result depends on the point.
class NameIndex {
 public:
  /// An index for at most `names` names.
  explicit NameIndex(std::size_t names = 0);

  /// Enters number `index` under `name`; `name_of(i)` gives the name of an entered number.
  /// @return the number that has this name already, or nothing
  template <class NameOf>
  std::optional<std::uint32_t> insert(std::string_view name, std::uint32_t index,
                                      const NameOf& name_of) {
    std::uint32_t& slot = slots_[place(name, name_of)];
    if (slot != kFree) return slot;
    slot = index;
    return std::nullopt;
  }

  template <class NameOf>
  std::optional<std::uint32_t> find(std::string_view name, const NameOf& name_of) const {
    const std::uint32_t slot = slots_[place(name, name_of)];
    if (slot == kFree) return std::nullopt;
    return slot;
  }

 private:
  static constexpr std::uint32_t kFree = 0xffffffffU;
  static std::uint64_t hash(std::string_view name);

  template <class NameOf>
  std::size_t place(std::string_view name, const NameOf& name_of) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = static_cast<std::size_t>(hash(name)) & mask;
    while (slots_[at] != kFree && name_of(slots_[at]) != name) at = (at + 1) & mask;
    return at;
  }

  std::vector<std::uint32_t> slots_;  ///< a power of two, at most half full
};

}  // namespace tender::io
