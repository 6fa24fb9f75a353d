#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "eval/text_input.h"
#include "tests/support/test_support.h"

namespace tender::eval {
namespace {

/// Keeps what it was told.
class Notes : public Progress {
 public:
  void note(std::string_view sentence) override { text += sentence; }
  std::string text;
};

TEST(WikiTextTest, TheJoinedFormHasThePublishedHash) {
  TENDER_DATA_OR_SKIP(path, "wikitext2/wiki.test.raw");
  Notes notes;
  const TextInput input =
      read_text(path, std::nullopt, "wikitext", compress::InvalidText::refuse, notes);
  EXPECT_EQ(input.known, "wiki.test.raw");
  EXPECT_EQ(input.joined->name, "wikitext");
  EXPECT_EQ(input.text.size(), 1'296'370U);
  EXPECT_EQ(sha256_hex(input.text),
            "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83");
  EXPECT_THAT(notes.text, ::testing::HasSubstr("--join wikitext"));
}

TEST(WikiTextTest, WhatTheUserAsksForIsDoneWithoutARemark) {
  TENDER_DATA_OR_SKIP(path, "wikitext2/wiki.test.raw");
  Notes notes;
  EXPECT_EQ(read_text(path, "none", "wikitext", compress::InvalidText::refuse, notes).text.size(),
            1'290'590U);
  EXPECT_EQ(read_text(path, "lines", "wikitext", compress::InvalidText::refuse, notes).text.size(),
            1'294'946U);
  EXPECT_EQ(notes.text, "");
}

}  // namespace
}  // namespace tender::eval
