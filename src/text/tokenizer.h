#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tender::io {
class Checkpoint;
}

namespace tender::text {

using TokenId = std::int32_t;

struct EncodeOptions {
  bool add_special = true;    ///< put BOS and EOS where the tokenizer's own rules put them
  bool parse_special = true;  ///< special tokens written in the text become their ids, as in HF
};

/// Ids that steer generation; absent where the model has none.
struct SpecialTokens {
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::optional<TokenId> unknown;
  std::optional<TokenId> padding;
  std::vector<TokenId>
      end_of_text;        ///< all that end generation: eos, eot, those of generation_config.json
  bool adds_bos = false;  ///< encode() with add_special puts BOS in front
  bool adds_eos = false;  ///< … and EOS at the end
};

/// Turns text into the ids of the reference implementation and back. Immutable; any thread may use
/// it.
///
/// Any bytes are accepted (docs/tokenizers.md says what becomes of those that are no UTF-8).
/// encode() fails only where the tokenizer's own file asks for too much: a pattern that exceeds the
/// limits of effort (invalid_input TK_REGEX), or a normalizer that multiplies the text (TK_GROWTH).
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Kind in words, such as "byte-level BPE".
  virtual std::string_view kind() const = 0;
  /// Highest id + 1; ids may have holes.
  virtual std::size_t vocabulary() const = 0;
  virtual std::vector<TokenId> encode(std::string_view text,
                                      const EncodeOptions& options = {}) const = 0;
  /// Bytes of the ids one after another. A single id may give an incomplete UTF-8 sequence.
  /// @param keep_special  special tokens as their text; otherwise they give nothing
  virtual std::string decode(std::span<const TokenId> ids, bool keep_special = true) const = 0;
  /// The bytes that `id` adds after other ids; empty for ids that do not exist. For streaming: a
  /// leading space that decode() would strip at the very start is kept here.
  virtual std::string piece(TokenId id, bool keep_special = true) const = 0;
  virtual bool exists(TokenId id) const = 0;
  virtual bool is_special(TokenId id) const = 0;
  /// The id of a token by its exact text.
  virtual std::optional<TokenId> find(std::string_view token) const = 0;

  const SpecialTokens& special() const { return special_; }
  /// The Jinja text, empty if the model has none.
  const std::string& chat_template() const { return chat_template_; }
  /// Remarks on the files that are no errors, for people.
  const std::vector<std::string>& notes() const { return notes_; }

 protected:
  SpecialTokens special_;
  std::string chat_template_;
  std::vector<std::string> notes_;
};

/// The tokenizer of a checkpoint: tokenizer.json, vocab.json + merges.txt, tokenizer.model, or GGUF
/// metadata. Kinds are read from the files, never guessed from the model type.
/// @throws Error (checkpoints 8.4, and 8.3 G9); not_found TK_MISSING where there is none
std::unique_ptr<Tokenizer> open_tokenizer(const io::Checkpoint& checkpoint);

/// The tokenizer files of a Hugging Face directory: copied where the checkpoint is one, rebuilt
/// from GGUF metadata otherwise (tokenizer.json, tokenizer_config.json). File name → content. The
/// rebuilt files give the same ids.
std::map<std::string, std::string> tokenizer_files(const io::Checkpoint& checkpoint);

}  // namespace tender::text
