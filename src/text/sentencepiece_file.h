#pragma once

#include <string>
#include <string_view>

#include "text/pipeline.h"

namespace tender::text {

/// Reads SentencePiece's tokenizer.model (a protocol buffer, ModelProto of
/// sentencepiece_model.proto) whose model is BPE or unigram and which has no table of character
/// changes. BOS comes first, as in Llama.
/// @throws Error corrupt_file TK_PROTOBUF, TK_TOKEN, TK_BYTE_TOKEN, TK_SPECIAL; unsupported
/// TK_COMPONENT
TokenizerParts read_sentencepiece_file(std::string_view bytes, const std::string& file);

/// The normalizer and decoder around a SentencePiece vocabulary, in tokenizer.json's form.
struct SentencePieceRules {
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = false;
  bool escape_whitespaces = true;
};
Json sentencepiece_components(const SentencePieceRules& rules);

}  // namespace tender::text
