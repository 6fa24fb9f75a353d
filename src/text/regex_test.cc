#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace tender::text {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern, "tokenizer.json");
  RegexScratch scratch;
  std::vector<std::string> out;
  for (std::size_t from = 0; from <= text.size();) {
    const auto match = regex.find(text, from, scratch);
    if (!match) break;
    out.push_back(text.substr(match->begin, match->end - match->begin));
    from = after(text, *match);
  }
  return out;
}

std::string code_of(const std::string& pattern, const std::string& text) {
  try {
    matches(pattern, text);
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

TEST(RegexTest, BlanksAreWhiteSpaceForEveryCodePoint) {
  const Regex blank(R"(\s)", "");
  const Regex in_class(R"([\s])", "");
  const Regex no_blank(R"(\S)", "");
  RegexScratch scratch;
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text;
    append_utf8(c, text);
    ASSERT_EQ(blank.find(text, 0, scratch).has_value(), is_white_space(c))
        << static_cast<std::uint32_t>(c);
    ASSERT_EQ(in_class.find(text, 0, scratch).has_value(), is_white_space(c))
        << static_cast<std::uint32_t>(c);
    ASSERT_EQ(no_blank.find(text, 0, scratch).has_value(), !is_white_space(c))
        << static_cast<std::uint32_t>(c);
  }
}

TEST(RegexTest, PatternsAreUnicodeAware) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(matches(R"(\p{L}+)", "été 語x 1"), (Strings{"été", "語x"}));
  EXPECT_EQ(matches(R"(\w+)", "e\u0301² a_b"), (Strings{"e\u0301²", "a_b"}));
  EXPECT_EQ(matches(R"((?i:'s|'ll))", "'S 'lL 'x"), (Strings{"'S", "'lL"}));
  EXPECT_EQ(matches(R"(\s+(?!\S))", "a   b  "), (Strings{"  ", "  "}));
  EXPECT_EQ(matches(R"([]a]+)", "x]a]"), (Strings{"]a]"}));
  EXPECT_EQ(matches(R"([^\s\p{L}\p{N}]+)", "ab,.c "), (Strings{",."}));
  EXPECT_EQ(matches("x*", "axé"), (Strings{"", "x", "", ""}))
      << "an empty match steps over a whole character";
}

TEST(RegexTest, WhatCannotBeRunIsRefused) {
  for (const char* pattern :
       {"", "(", "[a", "*", R"(\h)", "[a[bc]]", "[a&&b]", R"(\p{NoSuchScript})"})
    EXPECT_EQ(code_of(pattern, "x"), "TK_REGEX") << pattern;
}

TEST(RegexTest, ACatastrophicPatternEndsWithAnErrorAndNotInTime) {
  EXPECT_EQ(code_of("(a+)+$", std::string(64, 'a') + "b"), "TK_REGEX");
  EXPECT_EQ(code_of("(?:a?){12}a{12}", std::string(12, 'a')), "")
      << "slow in theory, within the limits";
}

}  // namespace
}  // namespace tender::text
