#include "kernels/rows/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/kernel_testing.h"

namespace tender::kernels {

void PrintTo(const RowKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::random_matrix;
using testing::same_bits;

constexpr double kUlp = 0x1p-24;  // largest relative error of one float operation

class RowKernelTest : public ::testing::TestWithParam<RowKernel> {};
INSTANTIATE_TEST_SUITE_P(All, RowKernelTest, ::testing::ValuesIn(row_kernels()),
                         testing::KernelName{});

const RowKernel& scalar() { return best_rows(Isa::scalar); }

/// All functions on one row, one after another.
std::vector<float> everything(const RowKernel& kernel, std::span<const float> x,
                              std::span<const float> z) {
  const std::size_t n = x.size();
  std::vector<float> y(6 * n);
  kernel.rms_norm(x.data(), z.data(), 1e-5F, y.data(), n);
  kernel.layer_norm(x.data(), z.data(), nullptr, 1e-5F, y.data() + n, n);
  kernel.layer_norm(x.data(), z.data(), z.data(), 1e-5F, y.data() + 2 * n, n);
  kernel.silu_mul(x.data(), z.data(), y.data() + 3 * n, n);
  kernel.add(x.data(), z.data(), y.data() + 4 * n, n);
  kernel.relu(x.data(), y.data() + 5 * n, n);
  return y;
}

void expect_equal_to_scalar(const RowKernel& kernel, std::span<const float> x,
                            std::span<const float> z) {
  const std::vector<float> got = everything(kernel, x, z), wanted = everything(scalar(), x, z);
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(same_bits(got[i], wanted[i]))
        << "function " << i / x.size() << ", element " << i % x.size() << " of " << x.size() << ": "
        << got[i] << ", " << wanted[i];
}

TEST_P(RowKernelTest, GivesTheBitsOfTheDefinitionForEveryLength) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(1, "rows");
  for (std::size_t n = 1; n < 70; ++n) {
    const Matrix x = random_matrix(2, n, rng);
    expect_equal_to_scalar(GetParam(), x.row(0), x.row(1));
  }
}

TEST_P(RowKernelTest, GivesTheBitsOfTheDefinitionForAllSizesOfNumbers) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(2, "rows");
  for (int repeat = 0; repeat < 300; ++repeat) {
    Matrix x(2, 37);
    for (float& v : x.span()) v = testing::any_finite(rng);
    if (repeat % 3 == 1) x(0, 20) = std::numeric_limits<float>::infinity();
    if (repeat % 3 == 2) x(0, 36) = std::numeric_limits<float>::quiet_NaN();
    expect_equal_to_scalar(GetParam(), x.row(0), x.row(1));
  }
}

TEST_P(RowKernelTest, RmsNormIsWithinItsStatedBound) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(3, "rows");
  for (const std::size_t n : {1U, 17U, 576U, 4096U}) {
    const Matrix x = random_matrix(2, n, rng);
    Matrix y(1, n);
    GetParam().rms_norm(x.row(0).data(), x.row(1).data(), 1e-5F, y.row(0).data(), n);
    double squares = 0;
    for (const float v : x.row(0)) squares += static_cast<double>(v) * static_cast<double>(v);
    const double r = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(1e-5F));
    // half the sum's share; mean, epsilon, root and division (half, half, one, one); two products
    const double bound = (static_cast<double>(n / 16 + 5) / 2 + 5) * kUlp;
    for (std::size_t i = 0; i < n; ++i) {
      const double truth = static_cast<double>(x(1, i)) * static_cast<double>(x(0, i)) * r;
      EXPECT_NEAR(static_cast<double>(y(0, i)), truth, bound * std::fabs(truth));
    }
  }
}

TEST_P(RowKernelTest, LayerNormAgreesWithDouble) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(4, "rows");
  for (const std::size_t n : {2U, 33U, 512U, 2048U}) {
    const Matrix x = random_matrix(3, n, rng);
    Matrix y(1, n);
    GetParam().layer_norm(x.row(0).data(), x.row(1).data(), x.row(2).data(), 1e-5F, y.row(0).data(),
                          n);
    double mean = 0, sizes = 0, variance = 0;
    for (const float v : x.row(0)) mean += static_cast<double>(v) / static_cast<double>(n);
    for (const float v : x.row(0))
      sizes += std::fabs(static_cast<double>(v)) / static_cast<double>(n);
    for (const float v : x.row(0))
      variance += std::pow(static_cast<double>(v) - mean, 2) / static_cast<double>(n);
    const double r = 1 / std::sqrt(variance + static_cast<double>(1e-5F));
    const double chain = static_cast<double>(n / 16 + 6) * kUlp;
    const double mean_error = chain * sizes;
    for (std::size_t i = 0; i < n; ++i) {
      const double weight = static_cast<double>(x(1, i)), bias = static_cast<double>(x(2, i));
      const double centred = static_cast<double>(x(0, i)) - mean;
      // The mean's error enters each difference, and the variance twice over the deviations (first
      // order: their sum is zero, so only its square and the difference's rounding remain).
      const double relative = chain + mean_error * mean_error * r * r + 6 * kUlp;
      const double bound =
          std::fabs(weight) * r * (mean_error + relative * (std::fabs(centred) + mean_error)) +
          kUlp * (std::fabs(weight * centred * r) + std::fabs(bias));
      EXPECT_NEAR(static_cast<double>(y(0, i)), weight * centred * r + bias, bound)
          << i << " of " << n;
    }
  }
}

TEST_P(RowKernelTest, SiluIsWithinFourUlpAndVanishesBelow) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Matrix gate(1, 4001), one(1, 4001), y(1, 4001);
  for (std::size_t i = 0; i < gate.cols(); ++i) gate(0, i) = static_cast<float>(i) * 0.04F - 80.0F;
  for (float& v : one.span()) v = 1;
  GetParam().silu_mul(gate.span().data(), one.span().data(), y.span().data(), gate.cols());
  for (std::size_t i = 0; i < gate.cols(); ++i) {
    const double g = static_cast<double>(gate(0, i));
    const double truth = g / (1 + std::exp(-g));
    // exp is off by an ulp (2 kUlp), sum, quotient and product round once each
    EXPECT_NEAR(static_cast<double>(y(0, i)), truth, 5 * kUlp * std::fabs(truth)) << g;
  }
  const float far[2] = {-1000.0F, 1000.0F}, ones[2] = {1, 1};
  float out[2];
  GetParam().silu_mul(far, ones, out, 2);
  EXPECT_EQ(out[0], 0.0F);
  EXPECT_EQ(out[1], 1000.0F);
}

TEST_P(RowKernelTest, ReluKeepsPositiveNumbersAndNan) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const float x[5] = {-1, -0.0F, 0, 2, std::numeric_limits<float>::quiet_NaN()};
  float y[5];
  GetParam().relu(x, y, 5);
  EXPECT_TRUE(same_bits(y[0], 0) && same_bits(y[1], 0) && same_bits(y[2], 0) && same_bits(y[3], 2));
  EXPECT_TRUE(std::isnan(y[4]));
}

TEST(Rows, WorkInPlaceOnEveryRowForAnyNumberOfThreads) {
  Rng rng(5, "rows");
  const Matrix x = random_matrix(7, 50, rng), weight = random_matrix(1, 50, rng);
  const RowKernel& kernel = best_rows(detected_isa());
  Matrix wanted(7, 50);
  for (std::size_t r = 0; r < 7; ++r)
    kernel.rms_norm(x.row(r).data(), weight.span().data(), 1e-6F, wanted.row(r).data(), 50);
  for (const std::size_t threads : {1U, 2U, 3U}) {
    ThreadPool pool(threads);
    Matrix y = x.copy();
    rms_norm(kernel, y.view(), weight.span(), 1e-6F, y.view(), pool);
    EXPECT_TRUE(same_bits(y.view(), wanted.view()));
    add(kernel, x.view(), x.view(), y.view(), pool);
    EXPECT_EQ(y(6, 49), 2 * x(6, 49));
    relu(kernel, x.view(), y.view(), pool);
    EXPECT_EQ(y(6, 49), std::max(0.0F, x(6, 49)));
  }
}

}  // namespace
}  // namespace tender::kernels
