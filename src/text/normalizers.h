#pragma once

#include <memory>
#include <string>

#include "text/json_fields.h"
#include "text/regex.h"

namespace tender::text {

/// Where a text stands in what the user gave.
enum class Place : std::uint8_t {
  start,      ///< it begins the whole input
  segment,    ///< it follows a token, or another part of the text
  continued,  ///< it follows bytes that are no UTF-8, or a token that is text: it gets no prefix
};

/// Changes a text before it is cut: the `normalizer` of a tokenizer.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// @param text  UTF-8
  virtual void apply(std::string& text, Place place, RegexScratch& scratch) const = 0;
};

/// Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip, StripAccents.
/// @throws Error unsupported TK_COMPONENT, corrupt_file TK_JSON, unsupported TK_REGEX
std::unique_ptr<Normalizer> make_normalizer(const JsonFields& fields);

}  // namespace tender::text
