#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "text/pipeline.h"

namespace tender::text {

/// One way in which a checkpoint may hold its tokenizer.
struct TokenizerSource {
  std::string_view name;
  /// Nothing if the checkpoint does not hold it.
  std::optional<TokenizerParts> (*read)(const io::Checkpoint& checkpoint);
};

std::optional<TokenizerParts> from_gguf_metadata(const io::Checkpoint& checkpoint);
std::optional<TokenizerParts> from_tokenizer_json(const io::Checkpoint& checkpoint);
std::optional<TokenizerParts> from_vocab_and_merges(const io::Checkpoint& checkpoint);
std::optional<TokenizerParts> from_sentencepiece_file(const io::Checkpoint& checkpoint);

/// The first one that is there is taken. To add one: a function and a line here.
inline constexpr std::array kTokenizerSources = {
    TokenizerSource{"GGUF metadata", from_gguf_metadata},
    TokenizerSource{"tokenizer.json", from_tokenizer_json},
    TokenizerSource{"vocab.json and merges.txt", from_vocab_and_merges},
    TokenizerSource{"tokenizer.model", from_sentencepiece_file},
};

}  // namespace tender::text
