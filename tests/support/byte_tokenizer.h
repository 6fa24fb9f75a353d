#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace tender::testing {

/// One id per byte, so that a test can count tokens by hand; ids 256 and 257 are BOS and EOS.
class ByteTokenizer : public text::Tokenizer {
 public:
  static constexpr text::TokenId kBos = 256;
  static constexpr text::TokenId kEos = 257;

  explicit ByteTokenizer(bool adds_bos = false, bool adds_eos = false) {
    special_.bos = kBos;
    special_.eos = kEos;
    special_.adds_bos = adds_bos;
    special_.adds_eos = adds_eos;
  }

  std::string_view kind() const override { return "bytes"; }
  std::size_t vocabulary() const override { return 258; }
  std::vector<text::TokenId> encode(std::string_view text,
                                    const text::EncodeOptions& options) const override {
    std::vector<text::TokenId> ids;
    if (options.add_special && special_.adds_bos) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    if (options.add_special && special_.adds_eos) ids.push_back(kEos);
    return ids;
  }
  std::string decode(std::span<const text::TokenId> ids, bool keep_special) const override {
    std::string text;
    for (const text::TokenId id : ids) text += piece(id, keep_special);
    return text;
  }
  std::string piece(text::TokenId id, bool) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : std::string();
  }
  bool exists(text::TokenId id) const override { return id >= 0 && id < 258; }
  bool is_special(text::TokenId id) const override { return id == kBos || id == kEos; }
  std::optional<text::TokenId> find(std::string_view) const override { return std::nullopt; }
};

}  // namespace tender::testing
