#include "text/vocabulary.h"

#include <gtest/gtest.h>

namespace tender::text {
namespace {

TEST(VocabularyTest, EveryTokenIsFoundByIdAndByText) {
  Vocabulary vocabulary;
  const auto text_of = [](TokenId id) {
    return std::string(static_cast<std::size_t>(id % 40), 'x') + std::to_string(id);
  };
  constexpr TokenId kTokens = 5000;
  for (TokenId id = kTokens - 1; id >= 0; --id) ASSERT_TRUE(vocabulary.add(id, text_of(id)));
  ASSERT_EQ(vocabulary.size(), std::size_t{kTokens});
  for (TokenId id = 0; id < kTokens; ++id) {
    ASSERT_EQ(vocabulary.text(id), text_of(id));
    ASSERT_EQ(vocabulary.find(text_of(id)), id);
    ASSERT_FALSE(vocabulary.find(text_of(id) + "y"));
  }
}

TEST(VocabularyTest, IdsMayHaveHolesAndTextsMayRepeat) {
  Vocabulary vocabulary;
  EXPECT_FALSE(vocabulary.find(""));
  EXPECT_TRUE(vocabulary.add(7, "a"));
  EXPECT_TRUE(vocabulary.add(2, "a"));
  EXPECT_TRUE(vocabulary.add(4, ""));
  EXPECT_FALSE(vocabulary.add(7, "b"));
  EXPECT_EQ(vocabulary.size(), 8U);
  EXPECT_EQ(vocabulary.find("a"), 7);  // the one that came first
  EXPECT_EQ(vocabulary.find(""), 4);
  EXPECT_FALSE(vocabulary.find("b"));
  EXPECT_EQ(vocabulary.text(2), "a");
  EXPECT_TRUE(vocabulary.exists(4));
  for (const TokenId id : {-1, 0, 3, 8}) {
    EXPECT_FALSE(vocabulary.exists(id));
    EXPECT_EQ(vocabulary.text(id), "");
  }
}

}  // namespace
}  // namespace tender::text
