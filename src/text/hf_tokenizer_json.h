#pragma once

#include <string>
#include <string_view>

#include "text/pipeline.h"

namespace tender::text {

/// Reads a tokenizer.json of the HF tokenizers library whose model is BPE.
/// @throws Error corrupt_file TK_JSON, JSON_DEPTH, TK_MERGES, TK_ID; unsupported TK_COMPONENT,
/// TK_REGEX;
///         corrupt_file TK_SPECIAL for a template with ids that do not exist
TokenizerParts read_tokenizer_json(std::string_view text, const std::string& file);

/// The components of a tokenizer.json around its model, an object with `normalizer`,
/// `pre_tokenizer`, `post_processor` and `decoder`, put into `parts`, whose vocabulary and added
/// tokens are set.
void add_components(const Json& document, const std::string& file, TokenizerParts& parts);

/// An id from a file. @throws Error corrupt_file TK_ID
TokenId checked_id(const Json& value, std::string_view token, const std::string& file);

/// Adds a token to a vocabulary. @throws Error corrupt_file TK_ID, TK_TOKEN
void add_checked(Vocabulary& vocabulary, TokenId id, std::string_view text,
                 const std::string& file);

[[noreturn]] void refuse_merge(const std::string& file, std::size_t index, std::string_view found,
                               std::string_view why);

}  // namespace tender::text
