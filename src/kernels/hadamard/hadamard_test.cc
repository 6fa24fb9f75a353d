#include "kernels/hadamard/hadamard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/kernel_testing.h"

namespace tender::kernels {

void PrintTo(const HadamardKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::same_bits;

std::vector<double> random_row(std::size_t width, std::uint64_t seed) {
  Rng rng(seed, "hadamard row");
  std::vector<double> x(width);
  for (double& value : x) value = static_cast<double>(rng.normal());
  return x;
}

TEST(PaleyMatrix, OfEveryOrderHasOrthogonalRowsOfOnesAndAPositiveRim) {
  for (const std::size_t n :
       {1U, 4U, 8U, 12U, 20U, 24U, 28U, 32U, 36U, 44U, 48U, 60U, 76U, 84U, 108U}) {
    const auto h = paley_matrix(n);
    ASSERT_EQ(h.size(), n * n) << n;
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_EQ(h[i], 1);
      EXPECT_EQ(h[i * n], 1);
      for (std::size_t j = 0; j < n; ++j) {
        EXPECT_EQ(std::abs(h[i * n + j]), 1);
        float product = 0;
        for (std::size_t k = 0; k < n; ++k) product += h[i * n + k] * h[j * n + k];
        EXPECT_EQ(product, i == j ? static_cast<float>(n) : 0.0F) << n << ": " << i << ", " << j;
      }
    }
  }
}

TEST(PaleyMatrix, IsEmptyWhereNeitherConstructionFits) {
  for (const std::size_t n : {0U, 2U, 3U, 6U, 9U, 16U, 52U, 92U, 260U})
    EXPECT_TRUE(paley_matrix(n).empty()) << n;
}

TEST(Hadamard, WidthsTakeOneBlockWhereAnOrderFitsAndElseTheLargestPowersOfTwo) {
  struct Case {
    std::size_t width, order, power;
  };
  for (const auto& [width, order, power] :
       {Case{576, 36, 16}, Case{1536, 12, 128}, Case{768, 12, 64}, Case{2048, 1, 2048},
        Case{5120, 20, 256}, Case{14336, 28, 512}, Case{12, 12, 1}, Case{11008, 1, 256},
        Case{70, 1, 2}, Case{7, 1, 1}}) {
    const Hadamard rotation(width, 1);
    EXPECT_EQ(rotation.order(), order) << width;
    EXPECT_EQ(rotation.power(), power) << width;
    EXPECT_EQ(rotation.job().blocks * order * power, width);
  }
}

TEST(TenderCheck17, RotationsAreOrthogonalTo1e6InDouble) {
  for (const std::size_t width : {576U, 96U, 80U, 112U, 64U, 70U, 33U}) {
    const Hadamard rotation(width, 3);
    std::vector<std::vector<double>> v;  // its rows
    for (std::size_t i = 0; i < width; ++i) {
      std::vector<double> unit(width, 0);
      unit[i] = 1;
      rotation.rotate(unit, v.emplace_back(width));
    }
    for (std::size_t i = 0; i < width; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        double product = 0;
        for (std::size_t k = 0; k < width; ++k) product += v[i][k] * v[j][k];
        ASSERT_NEAR(product, i == j ? 1 : 0, 1e-6) << width << ": " << i << ", " << j;
      }
  }
}

TEST(Hadamard, RotatingBackUndoesIt) {
  for (const std::size_t width : {1536U, 576U, 560U, 48U, 70U, 5U}) {
    const Hadamard rotation(width, 4);
    const auto x = random_row(width, 1);
    std::vector<double> y(width), back(width);
    rotation.rotate(x, y);
    rotation.rotate_back(y, back);
    for (std::size_t i = 0; i < width; ++i) ASSERT_NEAR(back[i], x[i], 1e-12);
  }
}

TEST(Hadamard, ALoudChannelIsSharedOutOverItsWholeBlock) {
  std::vector<double> x(1536, 0), y(1536);
  x[77] = 1000;
  Hadamard(1536, 1).rotate(x, y);
  for (const double value : y) EXPECT_NEAR(std::abs(value), 1000 / std::sqrt(1536.0), 1e-9);
}

TEST(Hadamard, TheSeedDecidesTheSignsAndNothingElse) {
  const auto x = random_row(576, 2);
  std::vector<double> a(576), b(576), c(576);
  Hadamard(576, 1).rotate(x, a);
  Hadamard(576, 1).rotate(x, b);
  Hadamard(576, 2).rotate(x, c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

class HadamardTest : public ::testing::TestWithParam<HadamardKernel> {};

TEST_P(HadamardTest, GivesTheBitsOfTheDefinitionForEveryKindOfBlock) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const std::size_t width :
       {576U, 1536U, 768U, 640U, 448U, 2048U, 16U, 32U, 352U, 24U, 70U, 7U, 1U}) {
    const Hadamard rotation(width, 5);
    const HadamardJob job = rotation.job();
    Rng rng(width, "floats");
    std::vector<float> x(width), t(job.order * job.power), y(width + 1, 77), same(width);
    for (float& value : x) value = rng.normal() * static_cast<float>(std::exp2(rng.below(30)));
    GetParam().rotate(job, x.data(), t.data(), y.data());
    isa::rotate_row_scalar(job, x.data(), t.data(), same.data());
    EXPECT_EQ(y.back(), 77) << "wrote past the row";
    for (std::size_t i = 0; i < width; ++i)
      ASSERT_TRUE(same_bits(y[i], same[i])) << width << ": " << i << " is " << y[i];
  }
}

TEST_P(HadamardTest, IsWithinTheRoundingOfItsSumsOfTheProductInDouble) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const std::size_t width : {576U, 1536U, 2048U, 28U}) {
    const Hadamard rotation(width, 6);
    const HadamardJob job = rotation.job();
    const auto exact = random_row(width, 3);
    std::vector<float> x(exact.begin(), exact.end()), t(width), y(width);
    std::vector<double> wanted(width);
    rotation.rotate(exact, wanted);
    GetParam().rotate(job, x.data(), t.data(), y.data());
    double reach = 0;  // of all partial sums: sum |x| / sqrt(n)
    for (const double value : exact) reach += std::abs(value);
    reach /= std::sqrt(static_cast<double>(width));
    const double additions =
        std::log2(static_cast<double>(job.power)) + static_cast<double>(job.order);
    for (std::size_t i = 0; i < width; ++i)
      ASSERT_NEAR(static_cast<double>(y[i]), wanted[i], (additions + 2) * 0x1p-24 * reach);
  }
}

TEST_P(HadamardTest, AValueThatIsNotFiniteSpoilsItsWholeBlock) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Hadamard rotation(576, 7);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(576, 1), t(576), y(576);
    x[100] = bad;
    GetParam().rotate(rotation.job(), x.data(), t.data(), y.data());
    for (const float value : y) EXPECT_FALSE(std::isfinite(value));
  }
}

INSTANTIATE_TEST_SUITE_P(All, HadamardTest,
                         ::testing::ValuesIn(hadamard_kernels().begin(), hadamard_kernels().end()),
                         testing::KernelName());

}  // namespace
}  // namespace tender::kernels
