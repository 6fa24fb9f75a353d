#include "quant/rotation/rotation.h"

#include <algorithm>
#include <vector>

#include "base/contracts.h"

namespace tender::quant {
namespace {

/// turn(x, y) for every row, both in double.
template <class Turn>
void turn_rows(MatrixView<const float> from, MatrixView<float> to, Turn turn) {
  std::vector<double> x(from.cols()), y(from.cols());
  for (std::size_t n = 0; n < from.rows(); ++n) {
    std::copy_n(from.row(n).data(), x.size(), x.data());
    turn(x, y);
    for (std::size_t k = 0; k < y.size(); ++k) to(n, k) = static_cast<float>(y[k]);
  }
}

}  // namespace

Rotation::Rotation(std::size_t size, Isa isa)
    : hadamard_(size, 0), kernel_(&kernels::best_hadamard(isa)) {}

void Rotation::rotate(std::span<const float> row, std::span<float> scratch,
                      std::span<float> out) const {
  require(row.size() == size() && out.size() == size() && scratch.size() == block(),
          "a row has the width of the rotation");
  kernel_->rotate(hadamard_.job(), row.data(), scratch.data(), out.data());
}

void Rotation::rotate(MatrixView<const float> rows, MatrixView<float> out) const {
  require(rows.cols() == size(), "rows are [tokens, size]");
  AlignedBuffer<float> scratch(block());
  for (std::size_t m = 0; m < rows.rows(); ++m) rotate(rows.row(m), scratch.span(), out.row(m));
}

Matrix Rotation::rotated(MatrixView<const float> rows) const {
  Matrix out(rows.rows(), rows.cols());
  rotate(rows, out.view());
  return out;
}

Matrix Rotation::rotated(MatrixView<const float> rows, ThreadPool& pool) const {
  Matrix out(rows.rows(), rows.cols());
  pool.for_each_part(rows.rows(), [&](std::size_t begin, std::size_t end) {
    rotate(rows.rows_from(begin, end - begin), out.view().rows_from(begin, end - begin));
  });
  return out;
}

Matrix Rotation::rotated_weights(MatrixView<const float> w, ThreadPool& pool) const {
  require(w.cols() == size(), "weights are [out, size]");
  Matrix out(w.rows(), w.cols());
  pool.for_each_part(w.rows(), [&](std::size_t begin, std::size_t end) {
    turn_rows(w.rows_from(begin, end - begin), out.view().rows_from(begin, end - begin),
              [&](const auto& x, auto& y) { hadamard_.rotate(x, y); });
  });
  return out;
}

void Rotation::rotate_weights_back(MatrixView<float> w) const {
  require(w.cols() == size(), "weights are [out, size]");
  turn_rows(w, w, [&](const auto& x, auto& y) { hadamard_.rotate_back(x, y); });
}

}  // namespace tender::quant
