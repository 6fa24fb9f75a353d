#pragma once

// Included after one of lanes/*.h, by kernels for an ISA with registers: the small matrix product
// that float GEMM and attention are made of.

#include <cstddef>

namespace tender::kernels {
namespace {

/// C times sixteen floats in registers. Nested members, not an array: g++ 12 keeps arrays in
/// memory.
template <int C>
struct TileRow {
  TileRow<C - 1> head;
  F16 last;
};
template <>
struct TileRow<0> {};
template <int R, int C>
struct Tile {
  Tile<R - 1, C> head;
  TileRow<C> last;
};
template <int C>
struct Tile<0, C> {};

// The functions below recurse over columns or rows at compile time; steps are in floats.

template <int C>
[[gnu::always_inline]] inline void clear_row(TileRow<C>& row) {
  if constexpr (C > 0) {
    clear_row<C - 1>(row.head);
    row.last = zero();
  }
}
template <int C>
[[gnu::always_inline]] inline void load_row(TileRow<C>& row, const float* p, std::size_t step) {
  if constexpr (C > 0) {
    load_row<C - 1>(row.head, p, step);
    row.last = load(p + (C - 1) * step);
  }
}
template <int C>
[[gnu::always_inline]] inline void store_row(const TileRow<C>& row, float* p, std::size_t step) {
  if constexpr (C > 0) {
    store_row<C - 1>(row.head, p, step);
    store(p + (C - 1) * step, row.last);
  }
}
template <int C>
[[gnu::always_inline]] inline void fma_row(TileRow<C>& row, F16 a, const TileRow<C>& b) {
  if constexpr (C > 0) {
    fma_row<C - 1>(row.head, a, b.head);
    row.last = fma(a, b.last, row.last);
  }
}

template <int R, int C>
[[gnu::always_inline]] inline void clear_tile(Tile<R, C>& tile) {
  if constexpr (R > 0) {
    clear_tile<R - 1, C>(tile.head);
    clear_row<C>(tile.last);
  }
}
template <int R, int C>
[[gnu::always_inline]] inline void load_tile(Tile<R, C>& tile, const float* p, std::size_t row_step,
                                             std::size_t column_step) {
  if constexpr (R > 0) {
    load_tile<R - 1, C>(tile.head, p, row_step, column_step);
    load_row<C>(tile.last, p + (R - 1) * row_step, column_step);
  }
}
template <int R, int C>
[[gnu::always_inline]] inline void store_tile(const Tile<R, C>& tile, float* p,
                                              std::size_t row_step, std::size_t column_step) {
  if constexpr (R > 0) {
    store_tile<R - 1, C>(tile.head, p, row_step, column_step);
    store_row<C>(tile.last, p + (R - 1) * row_step, column_step);
  }
}
template <int R, int C>
[[gnu::always_inline]] inline void fma_tile(Tile<R, C>& tile, const float* a, std::size_t row_step,
                                            const TileRow<C>& b) {
  if constexpr (R > 0) {
    fma_tile<R - 1, C>(tile.head, a, row_step, b);
    fma_row<C>(tile.last, set1(a[(R - 1) * row_step]), b);
  }
}

/// a[r][k] at a + r * a_row + k; the sixteen floats b[k][c] at b + k * b_k + c * b_column.
struct Factors {
  const float* a;
  std::size_t a_row;
  const float* b;
  std::size_t b_k;
  std::size_t b_column;
};

/// The sixteen sums [r][c] at y + r * y_row + c * y_column; they start at 0 or at what stands
/// there.
struct Sums {
  float* y;
  std::size_t y_row;
  std::size_t y_column;
  bool from_zero;
};

/// y[r][c] = fma chain over k = 0 … depth - 1 of a[r][k] * b[k][c].
template <int R, int C>
[[gnu::noinline]] void product(const Factors& factors, std::size_t depth, const Sums& sums) {
  Tile<R, C> tile;
  if (sums.from_zero)
    clear_tile<R, C>(tile);
  else
    load_tile<R, C>(tile, sums.y, sums.y_row, sums.y_column);
  const float* a = factors.a;
  const float* b = factors.b;
  const std::size_t a_row = factors.a_row, b_k = factors.b_k, b_column = factors.b_column;
  for (std::size_t k = 0; k < depth; ++k, ++a, b += b_k) {
    TileRow<C> columns;
    load_row<C>(columns, b, b_column);
    fma_tile<R, C>(tile, a, a_row, columns);
  }
  store_tile<R, C>(tile, sums.y, sums.y_row, sums.y_column);
}

/// Columns that R rows share: all sums, one row of b and one a stay in registers. One row alone
/// waits for memory: four streams of weights keep its prefetchers on the track, and four chains
/// outrun L2.
constexpr int columns_of(int rows) {
  const int fit = (kTileRegisters - 1) / (rows + 1), most = rows == 1 ? 4 : 8;
  return fit < most ? fit : most;
}

/// How many of `left` columns come next: as many as fit, the last two steps of even size.
template <int R>
constexpr std::size_t next_columns(std::size_t left) {
  constexpr std::size_t kMost = columns_of(R);
  if (left >= 2 * kMost || left == kMost) return kMost;
  return left > kMost ? (left + 1) / 2 : left;
}

template <int R, int C = columns_of(R)>
void product_of_columns(std::size_t columns, const Factors& factors, std::size_t depth,
                        const Sums& sums) {
  if constexpr (C > 0) {
    if (columns == C)
      product<R, C>(factors, depth, sums);
    else
      product_of_columns<R, C - 1>(columns, factors, depth, sums);
  }
}

/// product() for a number of rows in 1 … kTileRows and of columns in 1 … columns_of(rows).
template <int R = kTileRows>
void small_product(std::size_t rows, std::size_t columns, const Factors& factors, std::size_t depth,
                   const Sums& sums) {
  if constexpr (R > 0) {
    if (rows == R)
      product_of_columns<R>(columns, factors, depth, sums);
    else
      small_product<R - 1>(rows, columns, factors, depth, sums);
  }
}

/// The same for any number of columns.
template <int R = kTileRows>
void wide_product(std::size_t rows, std::size_t columns, Factors factors, std::size_t depth,
                  Sums sums) {
  if constexpr (R > 0) {
    if (rows != R) return wide_product<R - 1>(rows, columns, factors, depth, sums);
    while (columns > 0) {
      const std::size_t step = next_columns<R>(columns);
      product_of_columns<R>(step, factors, depth, sums);
      factors.b += step * factors.b_column;
      sums.y += step * sums.y_column;
      columns -= step;
    }
  }
}

}  // namespace
}  // namespace tender::kernels
