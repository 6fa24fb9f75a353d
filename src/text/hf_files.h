#pragma once

#include <functional>
#include <optional>
#include <string>

#include "text/pipeline.h"

namespace tender::text {

/// Reads a small file of a model directory; nothing where it is absent.
using ReadFile = std::function<std::optional<std::string>(const std::string& name)>;

/// Adds what stands beside the vocabulary: tokenizer_config.json, special_tokens_map.json,
/// added_tokens.json (where `adds_tokens`), chat_template.jinja, generation_config.json and the ids
/// of config.json.
/// @param adds_tokens  the vocabulary file knows no added tokens, so those of the others count
/// @param config       config.json or null
/// @throws Error corrupt_file TK_SPECIAL, TK_JSON, TK_ID
void add_hf_files(const ReadFile& read, const Json* config, bool adds_tokens,
                  TokenizerParts& parts);

/// GPT-2's pair of files. Where no other file names the special tokens, those are the tokens in
/// angle brackets that no merge makes. `</s>` comes first where config.json says OPT.
/// @throws Error corrupt_file TK_JSON, TK_ID, TK_MERGES
TokenizerParts read_vocab_and_merges(std::string_view vocab, std::string_view merges,
                                     const ReadFile& read, const Json* config);

}  // namespace tender::text
