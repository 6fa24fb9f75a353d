#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_model.h"

namespace tender::text {

/// What a reader of some file collects; a Pipeline is made of it.
struct TokenizerParts {
  std::string kind;
  std::unique_ptr<Vocabulary> vocabulary;  ///< of the word model
  std::unique_ptr<WordModel> model;        ///< refers to the vocabulary
  std::vector<AddedToken> added;           ///< may have ids and texts that the vocabulary lacks
  std::unique_ptr<Normalizer> normalizer;  ///< may be null
  PreTokenization pre_tokenization;
  Decoder decoder;
  std::vector<TokenId> prefix;  ///< what add_special puts in front
  std::vector<TokenId> suffix;  ///< … and at the end
  SpecialTokens special;
  std::string chat_template;
  std::vector<std::string> notes;

  /// The id of a token by its text, added ones first.
  std::optional<TokenId> find(std::string_view text) const;
  bool exists(TokenId id) const;
  /// Makes a token of the vocabulary one that is found in the text; one that is added already
  /// becomes special if `token` is.
  void add(AddedToken token);
};

/// added tokens → normalizer → added tokens in the normalized text → pre-tokenizer → word model →
/// prefix and suffix: the order of the HF tokenizers library, which is the reference.
///
/// Bytes that are no UTF-8 cut the text; each run of them goes to the word model as it is.
class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(TokenizerParts parts);

  std::string_view kind() const override { return parts_.kind; }
  std::size_t vocabulary() const override { return size_; }
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const TokenId> ids, bool keep_special) const override;
  std::string piece(TokenId id, bool keep_special) const override;
  bool exists(TokenId id) const override;
  bool is_special(TokenId id) const override;
  std::optional<TokenId> find(std::string_view token) const override;

 private:
  using Ids = std::vector<TokenId>;
  void encode_segment(std::string_view text, Place place, bool parse_special,
                      EncodeScratch& scratch, Ids& out) const;
  void encode_utf8(std::string_view text, Place place, bool parse_special, EncodeScratch& scratch,
                   Ids& out) const;
  void encode_normalized(std::string_view text, Place place, EncodeScratch& scratch,
                         Ids& out) const;

  TokenizerParts parts_;
  AddedTokens added_;
  std::size_t size_ = 0;
};

}  // namespace tender::text
