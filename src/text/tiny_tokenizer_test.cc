#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/utf8.h"
#include "tests/support/test_support.h"
#include "text/hf_tokenizer_json.h"

namespace tender::text {
namespace {

/// Written by oracle/make_tiny_tokenizer_golden.py.
const Json& golden() {
  static const Json document =
      Json::parse(testing::read_text(testing::source_path("src/text/golden/tiny_tokenizers.json")));
  return document;
}

std::unique_ptr<Pipeline> open(const Json& entry) {
  Json document = entry["document"];
  document["model"].update(golden()["models"][entry["model"].get<std::string>()]);
  return std::make_unique<Pipeline>(read_tokenizer_json(to_text(document), "tokenizer.json"));
}

/// Bytes that are no UTF-8 replaced as the reference does when it makes a string of them: a maximal
/// run that begins a character, or a single byte, becomes one U+FFFD.
std::string replaced(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const std::size_t valid = first_invalid_utf8(bytes).value_or(bytes.size());
    out += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    std::size_t length = 1;
    while (length < bytes.size() && length < 4 &&
           incomplete_tail(bytes.substr(0, length + 1)) == length + 1)
      ++length;
    out += "\xef\xbf\xbd";
    bytes.remove_prefix(length);
  }
  return out;
}

class TinyTokenizerTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Json& entry() const { return golden()["tokenizers"][GetParam()]; }
  std::vector<std::string> texts() const {
    std::vector<std::string> out;
    for (const Json& number : entry()["numbers"])
      out.push_back(golden()["texts"][number.get<std::size_t>()]);
    return out;
  }
  static std::vector<TokenId> ids_of(const Json& json) { return json.get<std::vector<TokenId>>(); }
};

TEST_P(TinyTokenizerTest, GivesTheIdsOfTheReference) {
  const auto tokenizer = open(entry());
  const auto all = texts();
  ASSERT_GT(all.size(), 10U);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(tokenizer->encode(all[i], {.add_special = false}), ids_of(entry()["plain"][i]))
        << all[i];
}

TEST_P(TinyTokenizerTest, PutsAroundWhatTheReferencePutsAround) {
  const auto tokenizer = open(entry());
  EXPECT_EQ(tokenizer->encode("", {}), ids_of(entry()["around"]));
  const auto whole = tokenizer->encode(texts()[1], {});
  EXPECT_EQ(whole.size(), ids_of(entry()["around"]).size() + ids_of(entry()["plain"][1]).size());
}

TEST_P(TinyTokenizerTest, ReadsSpecialTokensLiterallyOnRequest) {
  const auto tokenizer = open(entry());
  const auto all = texts();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Json& other = entry()["literal"];
    const auto expected =
        ids_of(other.contains(std::to_string(i)) ? other[std::to_string(i)] : entry()["plain"][i]);
    EXPECT_EQ(tokenizer->encode(all[i], {.add_special = false, .parse_special = false}), expected)
        << all[i];
  }
}

TEST_P(TinyTokenizerTest, DecodesAsTheReferenceDoes) {
  const auto tokenizer = open(entry());
  const auto all = texts();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Json& other = entry()["decoded"];
    const auto expected =
        other.contains(std::to_string(i)) ? other[std::to_string(i)].get<std::string>() : all[i];
    EXPECT_EQ(replaced(tokenizer->decode(ids_of(entry()["plain"][i]), false)), expected) << all[i];
  }
}

TEST_P(TinyTokenizerTest, PiecesOfTheIdsJoinedAreTheDecodedTextButForItsTrimming) {
  const auto tokenizer = open(entry());
  // Without a decoder tokens are joined by spaces, as the reference does.
  const std::string joint = entry()["document"]["decoder"].is_null() ? " " : "";
  for (const auto& line : entry()["plain"]) {
    std::string joined;
    for (const TokenId id : ids_of(line))
      joined += (joined.empty() ? "" : joint) + tokenizer->piece(id, true);
    const std::string decoded = tokenizer->decode(ids_of(line), true);
    EXPECT_EQ(joined.substr(joined.size() - std::min(joined.size(), decoded.size())), decoded);
    EXPECT_LE(joined.size(), decoded.size() + 4)
        << "at most the blanks of the first token are trimmed";
  }
}

std::vector<std::size_t> all_entries() {
  std::vector<std::size_t> out(golden()["tokenizers"].size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = i;
  return out;
}

std::string name_of(const ::testing::TestParamInfo<std::size_t>& parameter) {
  return golden()["tokenizers"][parameter.param]["name"].get<std::string>();
}

INSTANTIATE_TEST_SUITE_P(Golden, TinyTokenizerTest, ::testing::ValuesIn(all_entries()), name_of);

}  // namespace
}  // namespace tender::text
