#include "quant/row_sample.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"
#include "quant/memory_parts.h"

namespace tender::quant {
namespace {

constexpr std::size_t kIn = 5;

Matrix rows(std::size_t count, std::uint64_t seed) {
  Rng rng(seed, "rows");
  Matrix x(count, kIn);
  for (float& value : x.span()) value = rng.normal();
  return x;
}

bool same(const Matrix& a, const Matrix& b) {
  return a.rows() == b.rows() && std::equal(a.span().begin(), a.span().end(), b.span().begin());
}

TEST(RowSampleTest, KeepsTheSameRowsInWhateverOrderAndPiecesTheyCome) {
  const Matrix x = rows(50, 1);
  RowSample forth(kIn, 8);
  forth.add(x.view());
  RowSample back(kIn, 8);
  for (std::size_t m = x.rows(); m-- > 0;) back.add(x.view().rows_from(m, 1));
  EXPECT_EQ(forth.rows(), 8U);
  EXPECT_TRUE(same(forth.values(), back.values()));
}

TEST(RowSampleTest, KeepsAllThereAreAndEqualRowsOnce) {
  const Matrix x = rows(6, 2);
  RowSample sample(kIn, 8);
  sample.add(x.view());
  sample.add(x.view());
  ASSERT_EQ(sample.rows(), 6U);
  const Matrix kept = sample.values();
  for (std::size_t m = 0; m < x.rows(); ++m) {
    bool found = false;
    for (std::size_t k = 0; k < kept.rows(); ++k)
      found = found || std::ranges::equal(kept.row(k), x.row(m));
    EXPECT_TRUE(found) << "row " << m;
  }
  RowSample none(kIn, 0);
  none.add(x.view());
  EXPECT_EQ(none.rows(), 0U);
}

TEST(RowSampleTest, PositionsGoWithTheirRowsAndTheFirstOfEqualRowsCounts) {
  const Matrix x = rows(5, 5);
  const std::vector<std::int32_t> forth = {7, 3, 9, 4, 6}, back = {8, 2, 9, 5, 1};
  RowSample sample(kIn, 8), other(kIn, 8);
  sample.add(x.view(), forth);
  sample.add(x.view(), back);
  other.add(x.view(), back);
  other.add(x.view(), forth);
  EXPECT_EQ(sample.positions(), other.positions());
  const Matrix kept = sample.values();
  for (std::size_t m = 0; m < 5; ++m)
    for (std::size_t k = 0; k < 5; ++k)
      if (std::ranges::equal(kept.row(k), x.row(m))) {
        EXPECT_EQ(sample.positions()[k], std::min(forth[m], back[m]));
      }
  MemoryParts parts;
  sample.save("sample", parts);
  RowSample again(kIn, 8);
  again.load("sample", parts);
  EXPECT_EQ(again.positions(), sample.positions());
  parts.items[1].bytes[3] = std::byte{0x80};
  EXPECT_THROW(again.load("sample", parts), Error);
}

TEST(RowSampleTest, ComesBackFromItsPart) {
  RowSample sample(kIn, 8);
  sample.add(rows(30, 3).view());
  MemoryParts parts;
  sample.save("sample", parts);
  RowSample again(kIn, 8);
  again.add(rows(30, 4).view());
  again.load("sample", parts);
  EXPECT_TRUE(same(again.values(), sample.values()));
  RowSample other(kIn + 1, 8);
  EXPECT_THROW(other.load("sample", parts), Error);
}

}  // namespace
}  // namespace tender::quant
