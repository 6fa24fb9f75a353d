#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_fields.h"

namespace tender::text {

/// One step from tokens back to text.
class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  /// @param first  the text begins the whole output
  virtual void apply(std::string& text, bool first) const = 0;
  /// It turns stand-ins into bytes; tokens found in the text by their content are text already.
  virtual bool is_byte_level() const { return false; }
  /// It takes something away at the border of the whole output.
  virtual bool is_strip() const { return false; }
};

/// Turns tokens back into text: the `decoder` of a tokenizer. Bytes come out as they are, whereas
/// the HF library replaces those that are no UTF-8.
class Decoder {
 public:
  /// No decoder: tokens are joined by spaces, as the reference does.
  Decoder();
  /// Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace.
  /// @throws Error unsupported TK_COMPONENT, corrupt_file TK_JSON, unsupported TK_REGEX
  explicit Decoder(const JsonFields& fields);

  /// What one token adds.
  /// @param first  no token stands before it
  /// @param added  the token was found by its content (added_tokens)
  std::string token(std::string_view text, bool first, bool added) const;
  /// The same behind other tokens, with what is done to the joined text, less its trimming.
  std::string piece(std::string_view text, bool added) const;
  /// Ends the joined text of the tokens.
  void finish(std::string& text) const;
  std::string_view joint() const { return joint_; }

 private:
  void add(const JsonFields& fields);

  std::vector<std::unique_ptr<DecodeStep>> each_;   // on every token
  std::vector<std::unique_ptr<DecodeStep>> whole_;  // once they are joined
  bool joined_ = false;
  std::string joint_;
};

}  // namespace tender::text
