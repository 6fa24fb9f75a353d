#include "io/json_cursor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/rng.h"

namespace tender::io {
namespace {

bool accepts(std::string_view text) {
  try {
    JsonCursor cursor(text, "x", "CODE");
    cursor.skip();
    return cursor.at_end();
  } catch (const Error&) {
    return false;
  }
}

/// An exponent of three digits may exceed a double: good JSON that nlohmann's parser refuses all
/// the same.
bool has_large_exponent(std::string_view text) {
  for (; text.find_first_of("eE") != std::string_view::npos;) {
    text.remove_prefix(text.find_first_of("eE") + 1);
    const std::string_view digits = text.substr(text.starts_with('+') ? 1 : 0);
    if (std::min(digits.find_first_not_of("019"), digits.size()) >= 3) return true;
  }
  return false;
}

TEST(JsonCursorTest, AcceptsExactlyWhatAStrictParserAccepts) {
  // Random short texts of the characters that matter, held against nlohmann's parser.
  constexpr std::string_view kAlphabet = "{}[]\",:\\u0019aeE+-. tfn";
  Rng rng(1, "json");
  std::size_t accepted = 0;
  for (int round = 0; round < 300'000; ++round) {
    std::string text;
    for (std::uint64_t i = rng.below(9); i > 0; --i) text += kAlphabet[rng.below(kAlphabet.size())];
    if (has_large_exponent(text)) continue;
    const bool expected = nlohmann::json::accept(text);
    ASSERT_EQ(accepts(text), expected) << text;
    accepted += expected ? 1 : 0;
  }
  EXPECT_GT(accepted, 100U);
}

TEST(JsonCursorTest, StringsAreDecodedAsAStrictParserDecodesThem) {
  for (const std::string text : {R"("")", R"("plain")", R"("\"\\\/\b\f\n\r\t")",
                                 R"("a\u00e9b\u0000c")", R"("\ud83d\ude00")", "\"\xc3\xa9\""}) {
    JsonCursor cursor(text, "x", "CODE");
    EXPECT_EQ(cursor.string(), nlohmann::json::parse(text).get<std::string>()) << text;
    EXPECT_TRUE(cursor.at_end());
  }
}

TEST(JsonCursorTest, IntegersAreExactOrNamed) {
  using Integer = JsonCursor::Integer;
  const auto kind = [](std::string_view text, std::uint64_t expected = 0) {
    std::uint64_t value = 0;
    JsonCursor cursor(text, "x", "CODE");
    const Integer found = cursor.integer(value);
    if (found == Integer::good) {
      EXPECT_EQ(value, expected) << text;
    }
    EXPECT_TRUE(cursor.at_end()) << text;
    return found;
  };
  EXPECT_EQ(kind("0", 0), Integer::good);
  EXPECT_EQ(kind("9223372036854775807", 9223372036854775807U), Integer::good);
  EXPECT_EQ(kind("9223372036854775808"), Integer::too_large);
  EXPECT_EQ(kind("99999999999999999999999"), Integer::too_large);
  EXPECT_EQ(kind("-1"), Integer::negative);
  EXPECT_EQ(kind("-0"), Integer::negative);
  EXPECT_EQ(kind("1.0"), Integer::fractional);
  EXPECT_EQ(kind("1e2"), Integer::fractional);
  EXPECT_EQ(kind("\"1\""), Integer::not_a_number);
  EXPECT_EQ(kind("[1,{}]"), Integer::not_a_number);
}

TEST(JsonCursorTest, ErrorsCarryTheirOffsetInTheFile) {
  try {
    JsonCursor cursor("{\"a\" 1}", "x", "CODE", 100);
    cursor.skip();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "CODE");
    EXPECT_EQ(error.details().offset, 105U);
    EXPECT_EQ(error.details().expected, "':'");
  }
}

TEST(JsonCursorTest, SixtyFourLevelsAreTheLimit) {
  EXPECT_TRUE(accepts(std::string(64, '[') + std::string(64, ']')));
  EXPECT_FALSE(accepts(std::string(65, '[') + std::string(65, ']')));
}

}  // namespace
}  // namespace tender::io
