#pragma once

#include <memory>
#include <string_view>

#include "base/function_ref.h"
#include "text/json_fields.h"
#include "text/normalizers.h"
#include "text/regex.h"

namespace tender::text {

/// A part of the text on its way to the word model; lent for the length of a call.
struct Piece {
  std::string_view text;
  Place place = Place::continued;
};
using PieceSink = FunctionRef<void(const Piece&)>;

/// Cuts text into pre-tokens, over whose borders no merge reaches: the `pre_tokenizer` of a
/// tokenizer.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Gives the parts in order, none of them empty.
  /// @param piece  UTF-8
  virtual void split(const Piece& piece, RegexScratch& scratch, PieceSink sink) const = 0;
};

struct PreTokenization {
  std::unique_ptr<PreTokenizer> steps;  ///< null: the text is one pre-token
  bool byte_level = false;  ///< ByteLevel comes last: the word model gets raw bytes, not stand-ins
};

/// Sequence, ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit,
/// CharDelimiterSplit.
/// @throws Error unsupported TK_COMPONENT, corrupt_file TK_JSON, unsupported TK_REGEX
PreTokenization make_pre_tokenizer(const JsonFields& fields);

/// GPT-2's pattern, which ByteLevel applies unless its use_regex is off.
extern const std::string_view kGpt2Pattern;

}  // namespace tender::text
