#include "eval/text_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/test_support.h"

namespace tender::eval {
namespace {

using ::testing::HasSubstr;

TEST(JoinTest, NoneTakesTheTextAsItIs) {
  EXPECT_EQ(join("none").apply("a\n\n b\r\n"), "a\n\n b\r\n");
}

TEST(JoinTest, WikitextKeepsTheNewlineOfARowAndEmptiesBlankRows) {
  EXPECT_EQ(join("wikitext").apply(" = A = \n \nb\n"), " = A = \n\n\n\n\nb\n");
  EXPECT_EQ(join("wikitext").apply("a\nlast"), "a\n\n\nlast");
  EXPECT_EQ(join("wikitext").apply("\n"), "");
  EXPECT_EQ(join("wikitext").apply(""), "");
}

TEST(JoinTest, LinesDropsTheNewlineOfARow) {
  EXPECT_EQ(join("lines").apply("a\n \nb\n"), "a\n\n \n\nb");
  EXPECT_EQ(join("lines").apply("a"), "a");
  EXPECT_EQ(join("lines").apply(""), "");
}

TEST(JoinTest, AnUnknownNameIsRefusedWithThoseThatExist) {
  try {
    join("paragraphs");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    for (const Join& each : all_joins())
      EXPECT_THAT(error.what(), HasSubstr(std::string(each.name)));
  }
}

TEST(TextInputTest, AnUnknownTextIsTakenAsItIs) {
  const ::tender::testing::TemporaryFolder folder;
  ::tender::testing::write_text(folder / "t.txt", "a\nb\n");
  Progress silent;
  const TextInput input =
      read_text(folder / "t.txt", std::nullopt, "wikitext", compress::InvalidText::refuse, silent);
  EXPECT_EQ(input.text, "a\nb\n");
  EXPECT_EQ(input.joined->name, "none");
  EXPECT_EQ(input.known, "");
  EXPECT_EQ(
      read_text(folder / "t.txt", "lines", "wikitext", compress::InvalidText::refuse, silent).text,
      "a\n\nb");
}

TEST(TextInputTest, BytesThatAreNoTextAreRefused) {
  const ::tender::testing::TemporaryFolder folder;
  ::tender::testing::write_text(folder / "t.txt", "ab\xff");
  Progress silent;
  try {
    read_text(folder / "t.txt", std::nullopt, "none", compress::InvalidText::refuse, silent);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "TXT_UTF8");
    EXPECT_EQ(error.details().offset, 2U);
  }
}

}  // namespace
}  // namespace tender::eval
