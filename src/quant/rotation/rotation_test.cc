// Check 17 of tender.md section 9: an orthogonal matrix, for widths that are no powers of two as
// well.

#include "quant/rotation/rotation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace tender::quant {
namespace {

Matrix random_rows(std::size_t rows, std::size_t cols) {
  Rng rng(4, "rotation test");
  Matrix x(rows, cols);
  for (float& value : x.span()) value = rng.normal();
  return x;
}

TEST(Rotation, PaleysMatricesAreHadamardMatrices) {
  for (const std::size_t order :
       {4U, 8U, 12U, 20U, 24U, 28U, 32U, 36U, 44U, 48U, 60U, 76U, 84U, 108U}) {
    const std::vector<float> h = paley_hadamard(order);
    ASSERT_EQ(h.size(), order * order) << order;
    for (std::size_t a = 0; a < order; ++a)
      for (std::size_t b = 0; b < order; ++b) {
        float product = 0;
        for (std::size_t k = 0; k < order; ++k) {
          product += h[a * order + k] * h[b * order + k];
          EXPECT_EQ(std::abs(h[a * order + k]), 1.0F);
        }
        EXPECT_EQ(product, a == b ? static_cast<float>(order) : 0.0F) << order;
      }
  }
  for (const std::size_t order : {1U, 2U, 3U, 6U, 9U, 16U, 52U, 92U})
    EXPECT_TRUE(paley_hadamard(order).empty());
}

TEST(Rotation, WidthsOfModelsAreOneBlock) {
  const auto made = [](std::size_t size) {
    const Rotation rotation(size);
    return std::pair(rotation.order(), rotation.block());
  };
  EXPECT_EQ(made(576), std::pair(std::size_t{36}, std::size_t{576}));
  EXPECT_EQ(made(768), std::pair(std::size_t{12}, std::size_t{768}));
  EXPECT_EQ(made(1536), std::pair(std::size_t{12}, std::size_t{1536}));
  EXPECT_EQ(made(4096), std::pair(std::size_t{1}, std::size_t{4096}));
  EXPECT_EQ(made(28672), std::pair(std::size_t{28}, std::size_t{28672}));
  EXPECT_EQ(made(11008), std::pair(std::size_t{1}, std::size_t{256}));  // 43 blocks
  EXPECT_EQ(made(70), std::pair(std::size_t{1}, std::size_t{2}));
  EXPECT_EQ(made(7), std::pair(std::size_t{1}, std::size_t{1}));
}

TEST(Rotation, Check17VIsOrthogonalTo1e_6) {
  for (const std::size_t size : {1U, 2U, 64U, 70U, 36U, 576U}) {
    const Rotation rotation(size);
    Matrix v(size, size);
    for (std::size_t r = 0; r < size; ++r)
      for (std::size_t c = 0; c < size; ++c) v(r, c) = r == c ? 1.0F : 0.0F;
    const Matrix rotated = rotation.rotated(v.view());
    for (std::size_t a = 0; a < size; a += 1 + size / 40)
      for (std::size_t b = 0; b < size; ++b) {
        double product = 0;
        for (std::size_t k = 0; k < size; ++k)
          product += static_cast<double>(rotated(a, k)) * static_cast<double>(rotated(b, k));
        EXPECT_NEAR(product, a == b ? 1 : 0, 1e-6) << size;
      }
  }
}

TEST(Rotation, ProductsStayAndTheInverseGivesRowsBack) {
  for (const std::size_t size : {1U, 7U, 70U, 96U, 576U, 1536U}) {
    const Rotation rotation(size);
    const Matrix x = random_rows(3, size), w = random_rows(5, size);
    const Matrix rx = rotation.rotated(x.view()), rw = rotation.rotated(w.view());
    // Chains of fewer than 16 + order additions, each off by 2^-24 of values around sqrt(size).
    const double size_of = std::sqrt(static_cast<double>(size));
    const double bound = 64 * 0x1p-24 * size_of * size_of;
    for (std::size_t m = 0; m < 3; ++m)
      for (std::size_t n = 0; n < 5; ++n) {
        double before = 0, after = 0;
        for (std::size_t k = 0; k < size; ++k) {
          before += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
          after += static_cast<double>(rx(m, k)) * static_cast<double>(rw(n, k));
        }
        EXPECT_NEAR(after, before, bound) << size;
      }
    Matrix back = rx.copy();
    for (std::size_t m = 0; m < 3; ++m) {
      rotation.rotate_back(back.row(m));
      for (std::size_t k = 0; k < size; ++k) EXPECT_NEAR(back(m, k), x(m, k), 64 * 0x1p-24 * 8);
    }
  }
}

TEST(Rotation, AnOutlierIsSpreadOverAllChannels) {
  const Rotation rotation(576);
  std::vector<float> row(576, 0.0F);
  row[100] = 24.0F;
  rotation.rotate(row);
  for (const float value : row) EXPECT_NEAR(std::abs(value), 1.0F, 1e-5F);
}

TEST(Rotation, ThreadsChangeNoBit) {
  const Rotation rotation(576);
  const Matrix x = random_rows(11, 576);
  const Matrix alone = rotation.rotated(x.view());
  for (const std::size_t threads : {1U, 2U, 4U}) {
    ThreadPool pool(threads);
    const Matrix many = rotation.rotated(x.view(), pool);
    EXPECT_TRUE(std::ranges::equal(many.span(), alone.span()));
  }
}

}  // namespace
}  // namespace tender::quant
