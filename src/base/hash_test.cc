#include "base/hash.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/rng.h"

namespace tender {
namespace {

TEST(HashTest, MatchesThePublishedValues) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(xxh3_hex(std::span<const std::byte>()), "2d06800538d394c2");
}

TEST(HashTest, PiecesGiveTheHashOfTheWhole) {
  const std::string text(5000, 'x');
  const auto bytes = std::as_bytes(std::span(text));
  Xxh3 pieces;
  pieces.update(bytes.first(1));
  pieces.update({});
  pieces.update(bytes.subspan(1));
  EXPECT_EQ(pieces.hex(), xxh3_hex(bytes));
  EXPECT_EQ(Xxh3().hex(), xxh3_hex({}));
}

TEST(QuoteTest, ControlCharactersAreEscapedAndLongTextsCut) {
  EXPECT_EQ(quote("a\nb'"), "'a\\x0ab\\x27'");
  EXPECT_EQ(quote(std::string(100, 'x'), 3), "'xxx' … (100 bytes)");
}

TEST(RngTest, StreamsOfOneSeedDifferAndRepeat) {
  Rng a(1, "weights"), b(1, "tokens"), c(1, "weights");
  const std::uint64_t first = a.next();
  EXPECT_NE(first, b.next());
  EXPECT_EQ(first, c.next());
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(7), 7U);
}

}  // namespace
}  // namespace tender
