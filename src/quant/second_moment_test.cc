#include "quant/second_moment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "quant/method_test_support.h"
#include "quant/registry.h"

namespace tender::quant {
namespace {

constexpr std::size_t kWidth = 150;  // more than one block of columns, and no whole vectors

Matrix rows_of(std::size_t count, std::size_t width = kWidth) {
  Rng rng(5, "second moment");
  Matrix rows(count, width);
  for (float& value : rows.span()) value = rng.normal();
  return rows;
}

/// The definition: chains of float32 over the rows of a block, blocks added in double.
double sum_of_products(const Matrix& rows, std::size_t i, std::size_t k) {
  double sum = 0;
  for (std::size_t first = 0; first < rows.rows(); first += SecondMoment::kBlockRows) {
    float chain = 0;
    for (std::size_t m = first; m < std::min(first + SecondMoment::kBlockRows, rows.rows()); ++m)
      chain = std::fma(rows(m, i), rows(m, k), chain);
    sum += static_cast<double>(chain);
  }
  return sum;
}

TEST(SecondMoment, IsTheSumOfTheOuterProductsOfTheRows) {
  for (const std::size_t width : {std::size_t{1}, std::size_t{37}, std::size_t{96}, kWidth}) {
    const Matrix rows = rows_of(SecondMoment::kBlockRows + 70, width);
    ThreadPool pool(2);
    SecondMoment moment(width, host_isa());
    moment.add(rows.view(), pool);
    EXPECT_EQ(moment.rows(), rows.rows());
    for (std::size_t i = 0; i < width; ++i)
      for (std::size_t k = 0; k < width; ++k)
        ASSERT_EQ(moment.sum()(i, k), sum_of_products(rows, i, k)) << i << ", " << k;
  }
}

TEST(SecondMoment, HasTheSameBitsForAnyThreadsOnAnyCpu) {
  const Matrix rows = rows_of(300);
  ThreadPool one(1), three(3);
  SecondMoment plain(kWidth, Isa::scalar), fast(kWidth, host_isa());
  plain.add(rows.view(), one);
  fast.add(rows.view(), three);
  for (std::size_t i = 0; i < kWidth; ++i)
    for (std::size_t k = 0; k < kWidth; ++k) ASSERT_EQ(plain.sum()(i, k), fast.sum()(i, k));
}

TEST(FirstRow, CountsAsItsShareOfASequenceOfAnyLength) {
  for (const std::size_t count : {std::size_t{20}, std::size_t{500}}) {
    Matrix rows(count, 4);
    std::ranges::fill(rows.span(), 3.0F);  // all rows of the same norm
    const Matrix as_given = rows.copy();
    std::vector<std::int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), 0);
    weigh_first_row(0.25, positions, rows.view());
    double first = 0, all = 0;
    for (std::size_t m = 0; m < count; ++m)
      for (std::size_t k = 0; k < rows.cols(); ++k) {
        const double square = static_cast<double>(rows(m, k)) * static_cast<double>(rows(m, k));
        all += square;
        if (m == 0)
          first += square;
        else
          ASSERT_EQ(rows(m, k), as_given(m, k));
      }
    // The factor and its products with the row are rounded to float32, once each.
    EXPECT_NEAR(first / all, 0.25, 0.25 * 4 * 0x1p-24);
  }
}

TEST(FirstRow, NeverCountsLessThanARow) {
  const Matrix rows = rows_of(4);
  const std::vector<std::int32_t> from_the_start = {0, 1, 2, 3}, later = {7, 8, 9, 10};
  for (const auto& [share, positions] : {std::pair{0.0, from_the_start},  // off
                                         std::pair{0.2, from_the_start},  // less than a row in four
                                         std::pair{0.9, later}}) {        // no first row
    Matrix weighed = rows.copy();
    weigh_first_row(share, positions, weighed.view());
    for (std::size_t m = 0; m < 4; ++m)
      for (std::size_t k = 0; k < kWidth; ++k) ASSERT_EQ(weighed(m, k), rows(m, k));
  }
  Matrix none(0, kWidth), one = rows_of(1);
  weigh_first_row(0.5, {}, none.view());
  weigh_first_row(0.5, std::vector<std::int32_t>{0}, one.view());
  for (std::size_t k = 0; k < kWidth; ++k) EXPECT_EQ(one(0, k), rows_of(1)(0, k));
}

/// Squared error of a layer's products with the first row of a problem.
double first_row_error(std::string_view name, Json options, double share) {
  options["first_row_share"] = share;
  const Problem problem(false, false);
  const MethodEntry& entry = method(name);
  const auto quantizer = entry.quantizer(options, problem.shape);
  ThreadPool pool(1);
  quantizer->observe(problem.all());
  quantizer->settle(problem.views());
  quantizer->observe_rounded(problem.all(), host_isa(), pool);
  const auto site = quantizer->quantize(problem.views(), pool);
  const Matrix& w = problem.weights[0];
  Matrix q(w.rows(), w.cols());
  site->dequantize(0, q.view());
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n) {
    double error = 0;
    for (std::size_t k = 0; k < w.cols(); ++k)
      error += static_cast<double>(w(n, k) - q(n, k)) * static_cast<double>(problem.rows(0, k));
    sum += error * error;
  }
  return sum;
}

TEST(FirstRow, ErrsLessWithEveryMethodThatLetsItCountForMore) {
  for (const auto& [name, options] :
       {std::pair<std::string_view, Json>{"gptq", Json::object()},
        {"gguf", {{"weight_type", "q4_0"}, {"weight_search", "gptq"}}},
        {"tender", {{"weight_bits", 4}}}}) {
    SCOPED_TRACE(name);
    EXPECT_LT(first_row_error(name, options, 0.5), first_row_error(name, options, 0));
  }
}

TEST(FirstRow, CountsForMoreByDefaultInTenderAtW4A8Alone) {
  const auto share = [](std::string_view name, const Json& options) {
    return method(name).traits(options).first_row_share;
  };
  EXPECT_EQ(share("tender", {{"weight_bits", 4}}), kFirstRowShare);
  EXPECT_EQ(share("tender", {{"weight_bits", 4}, {"activation_bits", 5}}), 0);
  EXPECT_EQ(share("tender", Json::object()), 0);
  EXPECT_EQ(share("gptq", Json::object()), 0);
  EXPECT_EQ(share("gguf", {{"weight_type", "q4_0"}, {"weight_search", "gptq"}}), 0);
}

TEST(SecondMoment, GrowsWithEveryCall) {
  const Matrix rows = rows_of(8);
  ThreadPool pool(1);
  SecondMoment once(kWidth, host_isa()), twice(kWidth, host_isa());
  once.add(rows.view(), pool);
  twice.add(rows.view(), pool);
  twice.add(rows.view(), pool);
  EXPECT_EQ(twice.rows(), 16U);
  for (std::size_t i = 0; i < kWidth; ++i) ASSERT_EQ(twice.sum()(i, i), 2 * once.sum()(i, i));
}

}  // namespace
}  // namespace tender::quant
