// The lanes come first: the bodies are written against them.
// clang-format off
#include "kernels/lanes/avx512.h"
#include "kernels/lanes/tile_body.h"
// clang-format on

namespace tender::kernels::bench {

void one_sum(const float* x, const float* w, float* y);
void two_sums(const float* x, const float* w, float* y);
void one_sum_of_one(const float* x, const float* w, float* y);
void two_sums_of_one(const float* x, const float* w, float* y);

namespace {

constexpr std::size_t kIn = 256, kOut = 48;

template <int R, int C>
[[gnu::noinline]] void two(const float* x, const float* w, float* y) {
  Tile<R, C> even, odd;
  clear_tile<R, C>(even);
  clear_tile<R, C>(odd);
  for (std::size_t k = 0; k < kIn; k += 2) {
    TileRow<C> columns;
    load_row<C>(columns, w + k * kOut, 16);
    fma_tile<R, C>(even, x + k, kIn, columns);
    load_row<C>(columns, w + (k + 1) * kOut, 16);
    fma_tile<R, C>(odd, x + k + 1, kIn, columns);
  }
  store_tile<R, C>(even, y, kOut, 16);
  constexpr std::size_t kWidth = C * 16;
  float other[R * kWidth];
  store_tile<R, C>(odd, other, kWidth, 16);
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t n = 0; n < kWidth; ++n) y[r * kOut + n] += other[r * kWidth + n];
}

}  // namespace

void one_sum(const float* x, const float* w, float* y) {
  product<8, 3>({x, kIn, w, kOut, 16}, kIn, {y, kOut, 16, true});
}
void two_sums(const float* x, const float* w, float* y) {
  two<4, 3>(x, w, y);
  two<4, 3>(x + 4 * kIn, w, y + 4 * kOut);
}
void one_sum_of_one(const float* x, const float* w, float* y) {
  for (std::size_t r = 0; r < 8; ++r)
    product<1, 3>({x + r * kIn, kIn, w, kOut, 16}, kIn, {y + r * kOut, kOut, 16, true});
}
void two_sums_of_one(const float* x, const float* w, float* y) {
  for (std::size_t r = 0; r < 8; ++r) two<1, 3>(x + r * kIn, w, y + r * kOut);
}

}  // namespace tender::kernels::bench
