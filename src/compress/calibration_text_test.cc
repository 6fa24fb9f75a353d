#include "compress/calibration_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/test_support.h"

namespace tender::compress {
namespace {

using ::tender::testing::ByteTokenizer;
using ::tender::testing::TemporaryFolder;
using ::tender::testing::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Keeps what it was told.
class Notes : public Progress {
 public:
  void note(std::string_view sentence) override { text += std::string(sentence) + "\n"; }
  std::string text;
};

class CalibrationTextTest : public ::testing::Test {
 protected:
  CalibrationText read(const std::string& content, const CalibrationWindows& asked,
                       const std::string& name = "calibration.txt",
                       InvalidText invalid = InvalidText::refuse) {
    write_text(folder_ / name, content);
    return read_calibration_text(folder_ / name, tokenizer_, asked, invalid, notes_);
  }

  Error refused(const std::string& content, const CalibrationWindows& asked,
                const std::string& name = "calibration.txt") {
    try {
      read(content, asked, name);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "accepted: " << content;
    return Error(ErrorKind::io, {}, "");
  }

  static std::string as_text(const std::vector<text::TokenId>& window) {
    return ByteTokenizer().decode(window, true);
  }

  TemporaryFolder folder_;
  ByteTokenizer tokenizer_;
  Notes notes_;
};

TEST_F(CalibrationTextTest, ATextIsCutIntoWindowsAndTheTailIsDropped) {
  const auto text = read("abcdefghij", {.samples = 5, .seqlen = 3});
  ASSERT_EQ(text.windows.size(), 3U);
  EXPECT_EQ(as_text(text.windows[0]), "abc");
  EXPECT_EQ(as_text(text.windows[2]), "ghi");
  EXPECT_EQ(text.tokens(), 9U);
  EXPECT_EQ(text.sha256, sha256_hex(std::string_view("abcdefghij")));
  EXPECT_THAT(notes_.text, HasSubstr("3 windows of 3, fewer than the 5 asked for"));
}

TEST_F(CalibrationTextTest, DrawnWindowsAreDifferentOrderedAndDecidedByTheSeed) {
  std::string content;
  for (int i = 0; i < 100; ++i)
    content += {static_cast<char>('0' + i / 10), static_cast<char>('0' + i % 10)};
  std::set<std::string> draws;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const auto text = read(content, {.samples = 10, .seqlen = 2, .seed = seed});
    std::string all;
    std::string before;
    for (const auto& window : text.windows) {
      EXPECT_LT(before, as_text(window)) << "in the order of the text, none twice";
      before = as_text(window);
      all += before;
    }
    const auto again = read(content, {.samples = 10, .seqlen = 2, .seed = seed});
    EXPECT_EQ(again.windows, text.windows);
    draws.insert(all);
  }
  EXPECT_EQ(draws.size(), 8U);
  EXPECT_EQ(notes_.text, "");
}

TEST_F(CalibrationTextTest, DocumentsOfJsonlAreShuffledAndJoinedByABlankLine) {
  const std::string content =
      "{\"text\": \"aa\"}\n\n{\"text\": \"bb\", \"id\": 7}\n{\"text\": \"cc\"}";
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto text = read(content, {.samples = 1, .seqlen = 10, .seed = seed}, "c.jsonl");
    EXPECT_EQ(text.documents, 3U);
    EXPECT_EQ(text.format, "jsonl");
    orders.insert(as_text(text.windows.at(0)));
  }
  EXPECT_THAT(orders, ElementsAre("aa\n\nbb\n\ncc", "aa\n\ncc\n\nbb", "bb\n\naa\n\ncc",
                                  "bb\n\ncc\n\naa", "cc\n\naa\n\nbb", "cc\n\nbb\n\naa"));
}

TEST_F(CalibrationTextTest, JsonlIsKnownByItsFirstLineUnderAnyName) {
  EXPECT_EQ(read("{\"text\": \"abcd\"}\n", {.samples = 1, .seqlen = 4}).format, "jsonl");
  EXPECT_EQ(read("{not json, but text}", {.samples = 1, .seqlen = 4}).format, "text");
}

TEST_F(CalibrationTextTest, ABrokenLineOfJsonlIsNamedByItsNumber) {
  const std::string good = "{\"text\": \"abcdefgh\"}\n";
  for (const std::string bad : {"{\"text\": \"ab", "[1]", "7", "{\"content\": \"x\"}",
                                "{\"text\": 3}", "{\"text\": \"a\\u0000\"}",
                                "{\"text\": \"\\ud800\"}", "{\"text\": \"a\", \"text\": \"b\"}"}) {
    const Error error =
        refused(good + "\n" + bad + "\n" + good, {.samples = 1, .seqlen = 4}, "c.jsonl");
    EXPECT_EQ(error.code(), "JSONL_LINE") << bad;
    EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
    EXPECT_EQ(error.details().item, "line 3") << bad;
    EXPECT_THAT(error.what(), HasSubstr("line 3 "));
  }
}

TEST_F(CalibrationTextTest, ATextTooShortForOneWindowIsRefused) {
  for (const auto& [content, name] :
       std::vector<std::pair<std::string, std::string>>{{"", "c.txt"},
                                                        {"abc", "c.txt"},
                                                        {"", "c.jsonl"},
                                                        {"{\"text\": \"abc\"}\n", "c.jsonl"}}) {
    const Error error = refused(content, {.samples = 2, .seqlen = 4}, name);
    EXPECT_EQ(error.code(), "TXT_TOO_SHORT") << content;
    EXPECT_FALSE(error.details().hint.empty());
  }
}

TEST_F(CalibrationTextTest, BytesThatAreNoTextAreRefusedWithTheirOffset) {
  for (const auto& [content, offset] :
       std::vector<std::pair<std::string, std::size_t>>{{"abc\xff", 3},
                                                        {"\x80", 0},
                                                        {std::string("ab\0c", 4), 2},
                                                        {"caf\xc3", 3},
                                                        {"\xed\xa0\x80", 0},
                                                        {std::string("\0\xff", 2), 0}}) {
    const Error error = refused(content, {.samples = 1, .seqlen = 2});
    EXPECT_EQ(error.code(), "TXT_UTF8");
    EXPECT_EQ(error.details().offset, offset);
    EXPECT_THAT(error.details().hint, HasSubstr("--replace-invalid"));
  }
}

TEST_F(CalibrationTextTest, OnRequestBytesThatAreNoTextAreReadAsU_FFFD) {
  const auto text = read(std::string("a\xff") + std::string("\0b\xc3", 3) + "c",
                         {.samples = 1, .seqlen = 12}, "c.txt", InvalidText::replace);
  EXPECT_EQ(as_text(text.windows.at(0)),
            "a\xef\xbf\xbd\xef\xbf\xbd"
            "b\xef\xbf\xbd"
            "c");
  EXPECT_THAT(notes_.text, HasSubstr("3 bytes"));
}

TEST_F(CalibrationTextTest, CarriageReturnsAreKeptAndReported) {
  const auto text = read("ab\r\ncd", {.samples = 1, .seqlen = 6});
  EXPECT_EQ(as_text(text.windows.at(0)), "ab\r\ncd");
  EXPECT_THAT(notes_.text, HasSubstr("CR LF"));
}

TEST_F(CalibrationTextTest, ValuesWithoutMeaningAreToldBeforeTheFileIsOpened) {
  for (const CalibrationWindows& asked :
       {CalibrationWindows{.samples = 0}, CalibrationWindows{.seqlen = 1}}) {
    try {
      read_calibration_text("/no/such/file", tokenizer_, asked, InvalidText::refuse, notes_);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    }
  }
}

}  // namespace
}  // namespace tender::compress
