#include "io/name_index.h"

#include <gtest/gtest.h>

#include <string>

namespace tender::io {
namespace {

TEST(NameIndexTest, FindsEveryNameAndNoOther) {
  // Neighbours in length and content, among them names that differ only in trailing NULs.
  std::vector<std::string> names = {""};
  for (std::size_t length = 1; length < 40; ++length) {
    names.emplace_back(length, '\0');
    names.emplace_back(length, 'x');
    names.push_back(std::string(length - 1, 'x') + "y");
  }
  NameIndex index(names.size());
  const auto name_of = [&](std::uint32_t i) { return std::string_view(names[i]); };
  for (std::uint32_t i = 0; i < names.size(); ++i) EXPECT_FALSE(index.insert(names[i], i, name_of));
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(index.find(names[i], name_of), i);
    EXPECT_EQ(index.insert(names[i], 7, name_of), i) << "a second one is told of the first";
    EXPECT_EQ(index.find(names[i] + "z", name_of), std::nullopt);
  }
}

TEST(NameIndexTest, AnEmptyIndexHasNothing) {
  EXPECT_EQ(NameIndex().find("x", [](std::uint32_t) { return std::string_view(); }), std::nullopt);
}

}  // namespace
}  // namespace tender::io
