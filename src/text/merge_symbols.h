#pragma once

#include <algorithm>
#include <optional>

#include "text/word_model.h"

namespace tender::text {

/// Order of std::push_heap: the top is the lowest order, the leftmost of equals.
inline bool comes_later(const Candidate& a, const Candidate& b) {
  return a.order != b.order ? a.order > b.order : a.left > b.left;
}

/// Merges scratch.symbols until no rule applies. Each merge costs two looks into the rules and
/// O(log n) in the heap.
/// @param find    (left, right) → optional Candidate with order and merged set
/// @param merged  told of each merge: (left, right) before it, and the new id
template <class Find, class Merged>
void merge_symbols(EncodeScratch& scratch, const Find& find, const Merged& merged) {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto index = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  const auto propose = [&](std::int64_t left) {
    if (left < 0 || symbols[index(left)].next < 0) return false;
    const Symbol& a = symbols[index(left)];
    const Symbol& b = symbols[index(a.next)];
    std::optional<Candidate> candidate = find(a, b);
    if (!candidate) return false;
    candidate->left = index(left);
    candidate->length = a.length + b.length;
    heap.push_back(*candidate);
    return true;
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<std::int64_t>(i));
  std::make_heap(heap.begin(), heap.end(), comes_later);

  while (!heap.empty()) {
    const Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[index(left.next)];
    if (left.length + right.length != best.length) continue;  // one of them has grown since
    merged(left, right, best.merged);
    left.id = best.merged;
    left.length = best.length;
    left.next = right.next;
    right.length = 0;
    const auto here = static_cast<std::int64_t>(best.left);
    if (left.next >= 0) symbols[index(left.next)].previous = here;
    if (propose(left.previous)) std::push_heap(heap.begin(), heap.end(), comes_later);
    if (propose(here)) std::push_heap(heap.begin(), heap.end(), comes_later);
  }
}

}  // namespace tender::text
