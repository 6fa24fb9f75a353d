#include "quant/second_moment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace tender::quant {
namespace {

constexpr std::size_t kIn = 37;

Matrix rows_of(std::size_t count) {
  Rng rng(5, "second moment");
  Matrix rows(count, kIn);
  for (float& value : rows.span()) value = rng.normal();
  return rows;
}

TEST(SecondMoment, IsTheSumOfTheOuterProductsOfTheRows) {
  const Matrix rows = rows_of(SecondMoment::kBlockRows + 70);
  ThreadPool pool(2);
  SecondMoment moment(kIn, host_isa());
  moment.add(rows.view(), pool);
  EXPECT_EQ(moment.rows(), rows.rows());
  for (std::size_t i = 0; i < kIn; ++i)
    for (std::size_t k = 0; k < kIn; ++k) {
      double exact = 0, magnitude = 0;
      for (std::size_t m = 0; m < rows.rows(); ++m) {
        const double product = static_cast<double>(rows(m, i)) * static_cast<double>(rows(m, k));
        exact += product;
        magnitude += std::abs(product);
      }
      // one rounding for each row of a block's chain
      ASSERT_NEAR(moment.sum()(i, k), exact, SecondMoment::kBlockRows * 0x1p-24 * magnitude);
      ASSERT_EQ(moment.sum()(i, k), moment.sum()(k, i));
    }
}

TEST(SecondMoment, HasTheSameBitsForAnyThreadsOnAnyCpu) {
  const Matrix rows = rows_of(300);
  ThreadPool one(1), three(3);
  SecondMoment plain(kIn, Isa::scalar), fast(kIn, host_isa());
  plain.add(rows.view(), one);
  fast.add(rows.view(), three);
  for (std::size_t i = 0; i < kIn; ++i)
    for (std::size_t k = 0; k < kIn; ++k) ASSERT_EQ(plain.sum()(i, k), fast.sum()(i, k));
}

TEST(SecondMoment, GrowsWithEveryCall) {
  const Matrix rows = rows_of(8);
  ThreadPool pool(1);
  SecondMoment once(kIn, host_isa()), twice(kIn, host_isa());
  once.add(rows.view(), pool);
  twice.add(rows.view(), pool);
  twice.add(rows.view(), pool);
  EXPECT_EQ(twice.rows(), 16U);
  for (std::size_t i = 0; i < kIn; ++i) ASSERT_EQ(twice.sum()(i, i), 2 * once.sum()(i, i));
}

}  // namespace
}  // namespace tender::quant
