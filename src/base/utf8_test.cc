#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace tender {
namespace {

TEST(Utf8Test, EveryCodePointComesBack) {
  for (char32_t value = 0; value <= 0x10ffff; ++value) {
    if (value == 0xd800) value = 0xe000;  // surrogates are no code points of their own
    std::string text;
    append_utf8(value, text);
    const CodePoint back = read_code_point(text);
    ASSERT_TRUE(back.value == value);
    ASSERT_EQ(back.bytes, text.size());
    ASSERT_FALSE(first_invalid_utf8(text));
    for (std::size_t cut = 1; cut < text.size(); ++cut)
      ASSERT_EQ(incomplete_tail(text.substr(0, cut)), cut);
  }
}

TEST(Utf8Test, OverlongSurrogateAndStrayBytesAreInvalid) {
  for (const std::string bad :
       {"\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80",
        "\xff", "\xe2\x28\xa1", "\xc3"})
    EXPECT_EQ(first_invalid_utf8("ab" + bad), 2U);
  EXPECT_EQ(incomplete_tail("abc"), 0U);
  EXPECT_EQ(incomplete_tail("\xff"), 0U);
}

}  // namespace
}  // namespace tender
