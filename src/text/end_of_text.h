#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "text/tokenizer.h"

namespace tender::text {

/// Control tokens that end a turn or a text in the models that have them. Asked only where a file
/// leaves open what ends generation: older conversions of chat models name no end of turn.
constexpr std::array<std::string_view, 6> kEndOfTextNames = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"};

inline bool ends_text_by_name(std::string_view token) {
  return std::find(kEndOfTextNames.begin(), kEndOfTextNames.end(), token) != kEndOfTextNames.end();
}

/// Adds an id that ends generation, once.
inline void add_end_of_text(TokenId id, SpecialTokens& special) {
  auto& ids = special.end_of_text;
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

}  // namespace tender::text
