#pragma once

#include <vector>

#include "io/checkpoint.h"
#include "text/pipeline.h"

namespace tender::text {

/// The vocabulary of a GGUF file, checked (checkpoints 8.3, G9).
struct GgufVocabulary {
  std::vector<std::string> tokens;  ///< by id
  std::vector<float> scores;        ///< by id; empty where the file has none
  std::vector<PieceType> types;     ///< by id
  std::vector<std::string> merges;  ///< "left right"; empty where the file has none
  bool byte_level = false;          ///< tokenizer.ggml.model is gpt2; otherwise it is llama
};

/// @throws Error not_found TK_MISSING; unsupported TK_COMPONENT; corrupt_file GG_VOCAB, GG_TOKEN,
///         GG_TOKEN_UTF8, GG_BYTE_TOKEN, GG_KEY_MISSING
GgufVocabulary read_gguf_vocabulary(const io::GgufMetadata& metadata);

/// "left right" cut at the first space behind position 0. @throws Error corrupt_file GG_MERGE
std::pair<std::string_view, std::string_view> split_merge(const io::GgufMetadata& metadata,
                                                          std::size_t index,
                                                          std::string_view merge);

/// Everything around the model in tokenizer.json's form: `normalizer`, `pre_tokenizer`,
/// `post_processor`, `decoder`, and `ignore_merges`.
Json gguf_components(const io::GgufMetadata& metadata, const GgufVocabulary& vocabulary);

/// Special ids, checked. @throws Error corrupt_file GG_SPECIAL_ID
SpecialTokens gguf_special_tokens(const io::GgufMetadata& metadata,
                                  const GgufVocabulary& vocabulary);

/// The chat template, empty if there is none.
std::string gguf_chat_template(const io::GgufMetadata& metadata);

/// Tokens that are looked for in the text: control, unknown and user-defined ones, BOS and EOS.
std::vector<AddedToken> gguf_added_tokens(const GgufVocabulary& vocabulary,
                                          const SpecialTokens& special_tokens);

/// Reads a tokenizer from GGUF metadata; `tokenizer.huggingface.json` goes first where it is
/// present.
/// @throws Error as above, GG_MERGE, and those of read_tokenizer_json()
TokenizerParts read_gguf_tokenizer(const io::GgufMetadata& metadata);

}  // namespace tender::text
