#include "text/vocabulary.h"

#include <bit>

#include "base/contracts.h"

namespace tender::text {

bool Vocabulary::add(TokenId id, std::string_view text) {
  require(id >= 0 && at(id) < kMaxVocabulary, "an id of a vocabulary is in [0, 2^24)");
  if (exists(id)) return false;
  if (at(id) >= texts_.size()) texts_.resize(at(id) + 1);
  reserve(count_ + 1);
  const std::uint32_t hash = hash_of(text);
  Slot& slot = slots_[place(text, hash)];
  if (slot.id >= 0) {
    texts_[at(id)] = texts_[at(slot.id)];
    return true;
  }
  slot = {hash, id};
  ++count_;
  texts_[at(id)] = {bytes_.size(), text.size()};
  bytes_ += text;
  return true;
}

void Vocabulary::reserve(std::size_t count) {
  if (count * 2 <= slots_.size()) return;
  texts_.reserve(count);
  std::vector<Slot> old(std::bit_ceil(count * 2));
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    std::size_t at = slot.hash & mask;
    while (slots_[at].id >= 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

std::size_t Vocabulary::place(std::string_view text, std::uint32_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].id >= 0 && (slots_[at].hash != hash || text_at(slots_[at].id) != text))
    at = (at + 1) & mask;
  return at;
}

}  // namespace tender::text
