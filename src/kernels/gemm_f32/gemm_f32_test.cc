#include "kernels/gemm_f32/gemm_f32.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/kernel_testing.h"

namespace tender::kernels {

void PrintTo(const GemmF32Kernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::random_matrix;
using testing::same_bits;

PanelsF32 panels_of(MatrixView<const float> w) {
  PanelsF32 panels({w.rows(), w.cols()});
  panels.put(0, w);
  return panels;
}

Matrix product(const GemmF32Kernel& kernel, MatrixView<const float> x, const PanelsF32& w,
               std::span<const float> bias, std::size_t threads) {
  ThreadPool pool(threads);
  Matrix y(x.rows(), w.shape().out);

  for (float& v : y.span()) v = std::numeric_limits<float>::quiet_NaN();
  gemm_f32(kernel, x, w, bias, y.view(), pool);
  return y;
}

class GemmF32KernelTest : public ::testing::TestWithParam<GemmF32Kernel> {};
INSTANTIATE_TEST_SUITE_P(All, GemmF32KernelTest, ::testing::ValuesIn(gemm_f32_kernels()),
                         testing::KernelName{});

/// The stated chain in fixed steps, written apart from any kernel.
float chain(std::span<const float> x, std::span<const float> w, const float* bias) {
  float sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum = std::fmaf(x[k], w[k], sum);
  return bias == nullptr ? sum : sum + *bias;
}

TEST_P(GemmF32KernelTest, GivesTheStatedChainForEveryShape) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(1, "gemm");
  for (const std::size_t rows : {1U, 2U, 3U, 5U, 6U, 7U, 8U, 9U, 13U, 29U, 130U})
    for (const std::size_t out : {1U, 15U, 16U, 17U, 50U, 131U, 160U})
      for (const std::size_t in : {1U, 7U, 64U, 257U, 600U}) {
        const Matrix x = random_matrix(rows, in, rng), w = random_matrix(out, in, rng);
        const Matrix bias = random_matrix(1, out, rng);
        const bool with_bias = (rows + out + in) % 2 == 0;
        const std::size_t threads = 1 + (rows + in) % 3;
        const Matrix y = product(GetParam(), x.view(), panels_of(w.view()),
                                 with_bias ? bias.span() : std::span<const float>(), threads);
        Matrix wanted(rows, out);
        for (std::size_t m = 0; m < rows; ++m)
          for (std::size_t n = 0; n < out; ++n)
            wanted(m, n) = chain(x.row(m), w.row(n), with_bias ? &bias(0, n) : nullptr);
        ASSERT_TRUE(same_bits(y.view(), wanted.view()))
            << rows << " rows, " << out << " outputs, " << in << " inputs, " << threads
            << " threads";
      }
}

TEST_P(GemmF32KernelTest, GivesTheStatedChainAcrossBlocksOfRowsAndInputs) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(6, "gemm");
  const Matrix x = random_matrix(263, 1000, rng), w = random_matrix(17, 1000, rng);
  const Matrix y = product(GetParam(), x.view(), panels_of(w.view()), {}, 1);
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n)
      ASSERT_TRUE(same_bits(y(m, n), chain(x.row(m), w.row(n), nullptr))) << m << ", " << n;
}

TEST_P(GemmF32KernelTest, ARowDependsNeitherOnItsBatchNorOnThreads) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(2, "gemm");
  const Matrix x = random_matrix(75, 515, rng), w = random_matrix(37, 515, rng);
  const PanelsF32 panels = panels_of(w.view());
  const Matrix whole = product(GetParam(), x.view(), panels, {}, 1);
  for (const std::size_t threads : {2U, 3U, 5U})
    EXPECT_TRUE(same_bits(product(GetParam(), x.view(), panels, {}, threads).view(), whole.view()));
  for (const std::size_t batch : {1U, 4U, 11U})
    for (std::size_t first = 0; first + batch <= x.rows(); first += batch)
      ASSERT_TRUE(
          same_bits(product(GetParam(), x.view().rows_from(first, batch), panels, {}, 2).view(),
                    whole.view().rows_from(first, batch)));
}

TEST_P(GemmF32KernelTest, KeepsDenormalsInfinitiesAndNan) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(3, "gemm");
  Matrix x(9, 33), w(40, 33);
  for (float& v : x.span()) v = testing::any_finite(rng);
  for (float& v : w.span()) v = testing::any_finite(rng);
  for (std::size_t k = 0; k < 33; ++k) x(0, k) = std::numeric_limits<float>::denorm_min();
  for (std::size_t k = 0; k < 33; ++k) w(0, k) = 1;
  x(1, 3) = std::numeric_limits<float>::infinity();
  x(2, 5) = std::numeric_limits<float>::quiet_NaN();
  w(39, 32) = -std::numeric_limits<float>::infinity();
  const Matrix y = product(GetParam(), x.view(), panels_of(w.view()), {}, 1);
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n)
      EXPECT_TRUE(same_bits(y(m, n), chain(x.row(m), w.row(n), nullptr))) << m << ", " << n;
  EXPECT_EQ(y(0, 0), 33 * std::numeric_limits<float>::denorm_min());
}

TEST_P(GemmF32KernelTest, WritesNothingBesideItsOutputs) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Rng rng(4, "gemm");
  const Matrix x = random_matrix(11, 20, rng), w = random_matrix(21, 20, rng);
  Matrix y(11, 30);
  for (float& v : y.span()) v = -7;
  ThreadPool pool(2);
  gemm_f32(GetParam(), x.view(), panels_of(w.view()), {}, y.view().cols_from(3, 21), pool);
  for (std::size_t r = 0; r < y.rows(); ++r)
    for (std::size_t c = 0; c < y.cols(); ++c)
      EXPECT_EQ(y(r, c) == -7, c < 3 || c >= 24) << r << ", " << c;
}

TEST(PanelsF32, GiveBackTheRowsThatWerePutIn) {
  Rng rng(5, "panels");
  for (const std::size_t out : {1U, 16U, 35U}) {
    const Matrix w = random_matrix(out, 19, rng);
    PanelsF32 panels({out, 19});
    for (std::size_t first = 0; first < out; first += 7)
      panels.put(first, w.view().rows_from(first, std::min<std::size_t>(7, out - first)));
    Matrix back(out, 19);
    panels.take(0, back.view());
    EXPECT_TRUE(same_bits(back.view(), w.view()));
  }
}

TEST(GemmF32, TakesTheBestKernelThatACpuCanRun) {
  EXPECT_EQ(best_gemm_f32(Isa::scalar).name, "scalar");
#if defined(__x86_64__)
  EXPECT_EQ(best_gemm_f32(Isa::avx2 | Isa::avxvnni).name, "avx2");
  EXPECT_EQ(best_gemm_f32(Isa::avx2 | Isa::avx512).name, "avx512");
#endif
}

}  // namespace
}  // namespace tender::kernels
