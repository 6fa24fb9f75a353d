#include "text/vocabulary.h"

#include "base/contracts.h"

namespace tender::text {

bool Vocabulary::add(TokenId id, std::string text) {
  require(id >= 0 && at(id) < kMaxVocabulary, "an id of a vocabulary is in [0, 2^24)");
  if (exists(id)) return false;
  if (at(id) >= texts_.size()) texts_.resize(at(id) + 1, nullptr);
  const auto [place, is_new] = ids_.try_emplace(text, id);
  texts_[at(id)] = is_new ? &place->first : &repeated_.emplace_back(std::move(text));
  return true;
}

}  // namespace tender::text
