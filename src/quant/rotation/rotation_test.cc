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

double norm(std::span<const float> row) {
  double squares = 0;
  for (const float value : row) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

TEST(TenderCheck17, RotatedRowsTimesRotatedWeightsAreTheProductTo1e6OfItsNorms) {
  ThreadPool pool(2);
  for (const std::size_t size : {1U, 7U, 70U, 96U, 576U, 1536U}) {
    const Rotation rotation(size);
    const Matrix x = random_rows(3, size), w = random_rows(5, size);
    const Matrix rx = rotation.rotated(x.view()), rw = rotation.rotated_weights(w.view(), pool);
    for (std::size_t m = 0; m < 3; ++m) {
      EXPECT_NEAR(norm(rx.row(m)), norm(x.row(m)), 1e-6 * norm(x.row(m)));
      for (std::size_t n = 0; n < 5; ++n) {
        double before = 0, after = 0;
        for (std::size_t k = 0; k < size; ++k) {
          before += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
          after += static_cast<double>(rx(m, k)) * static_cast<double>(rw(n, k));
        }
        EXPECT_NEAR(after, before, 1e-6 * norm(x.row(m)) * norm(w.row(n))) << size;
      }
    }
  }
}

TEST(Rotation, WeightsTurnedThereAndBackAreOffByTheOneRoundingBetween) {
  ThreadPool pool(1);
  for (const std::size_t size : {7U, 70U, 576U}) {
    const Rotation rotation(size);
    const Matrix w = random_rows(4, size);
    Matrix back = rotation.rotated_weights(w.view(), pool);
    rotation.rotate_weights_back(back.view());
    for (std::size_t n = 0; n < 4; ++n)
      for (std::size_t k = 0; k < size; ++k)  // half an ulp of all of the row at most, and its own
        EXPECT_NEAR(back(n, k), w(n, k), 0x1p-23 * norm(w.row(n))) << size;
  }
}

TEST(Rotation, CpusAndThreadsChangeNoBit) {
  for (const std::size_t size : {576U, 1536U, 70U}) {
    const Matrix x = random_rows(11, size);
    const Matrix alone = Rotation(size, Isa::scalar).rotated(x.view());
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512})
      for (const std::size_t threads : {1U, 2U, 4U}) {
        if (!contains(detected_isa(), isa)) continue;
        ThreadPool pool(threads);
        const Matrix many = Rotation(size, isa).rotated(x.view(), pool);
        EXPECT_TRUE(std::ranges::equal(many.span(), alone.span())) << to_string(isa);
      }
  }
}

}  // namespace
}  // namespace tender::quant
