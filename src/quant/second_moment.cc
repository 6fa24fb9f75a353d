#include "quant/second_moment.h"

#include <algorithm>
#include <cmath>

#include "base/contracts.h"
#include "kernels/gemm_f32/gemm_f32.h"

namespace tender::quant {
namespace {

constexpr std::size_t kTile = 32;  // both sides of a tile stay in the first cache

Matrix transposed(MatrixView<const float> rows, ThreadPool& pool) {
  constexpr std::size_t kLine = 16;  // a line is written at once: rows of `turned` share cache sets
  Matrix turned(rows.cols(), rows.rows());
  pool.for_each_part(rows.cols(), kTile, [&](std::size_t begin, std::size_t end) {
    for (std::size_t k0 = begin; k0 < end; k0 += kTile)
      for (std::size_t m0 = 0; m0 < rows.rows(); m0 += kLine)
        for (std::size_t k = k0; k < std::min(k0 + kTile, end); ++k)
          for (std::size_t m = m0; m < std::min(m0 + kLine, rows.rows()); ++m)
            turned(k, m) = rows(m, k);
  });
  return turned;
}

/// Adds what a block of columns has on and above the diagonal to both halves.
/// @param products  [first + columns, columns]  @param first  channel of its first column
void add_to_both_halves(MatrixView<const float> products, std::size_t first,
                        MatrixView<double> sum) {
  const std::size_t end = first + products.cols();
  for (std::size_t i0 = 0; i0 < end; i0 += kTile) {
    const std::size_t i1 = std::min(i0 + kTile, end);
    for (std::size_t i = i0; i < i1; ++i)
      for (std::size_t k = std::max(i, first); k < end; ++k)
        sum(i, k) += static_cast<double>(products(i, k - first));
    for (std::size_t k = first; k < end; ++k)
      for (std::size_t i = i0; i < std::min(i1, k); ++i) sum(k, i) = sum(i, k);
  }
}

/// sum += turned turnedᵀ, of which one half is computed, a block of columns at a time.
void add_products(const kernels::GemmF32Kernel& kernel, MatrixView<const float> turned,
                  MatrixView<double> sum, ThreadPool& pool) {
  constexpr std::size_t kPanels = 3;  // what the widest kernel takes at once
  constexpr std::size_t kColumns = kPanels * kernels::PanelsF32::kWidth;
  const std::size_t in = turned.rows();
  kernels::PanelsF32 panels({in, turned.cols()});
  pool.for_each_part(in, kernels::PanelsF32::kWidth, [&](std::size_t begin, std::size_t end) {
    panels.put(begin, turned.rows_from(begin, end - begin));
  });
  const std::size_t blocks = (in + kColumns - 1) / kColumns;
  pool.for_each_item(blocks, [&](std::size_t item) {
    const std::size_t block = blocks - 1 - item;  // the longest first, so that all end together
    const std::size_t first = block * kColumns, columns = std::min(kColumns, in - first);
    Matrix products(first + columns, columns);
    kernel.run({.x = turned.data(),
                .x_stride = turned.stride(),
                .rows = products.rows(),
                .panels = panels.panel(block * kPanels),
                .in = turned.cols(),
                .out = columns,
                .bias = nullptr,
                .y = products.view().data(),
                .y_stride = products.view().stride(),
                .begin = 0,
                .end = (columns + kernels::PanelsF32::kWidth - 1) / kernels::PanelsF32::kWidth});
    add_to_both_halves(products.view(), first, sum);
  });
}

}  // namespace

SecondMoment::SecondMoment(std::size_t in, Isa isa) : isa_(isa), sum_(in, in) {
  std::ranges::fill(sum_.span(), 0.0);
}

SecondMoment::SecondMoment(MatrixOf<double> sum) : isa_(host_isa()), sum_(std::move(sum)) {
  require(sum_.rows() == sum_.cols(), "a second moment is [in, in]");
}

const Compensation& SecondMoment::compensation(const CompensationOptions& options) const {
  if (!compensation_ || !(compensation_->first == options))
    compensation_.emplace(options, Compensation(sum(), options));
  return compensation_->second;
}

void SecondMoment::add(MatrixView<const float> rows, ThreadPool& pool) {
  require(rows.cols() == in(), "rows are [tokens, in]");
  const kernels::GemmF32Kernel& kernel = kernels::best_gemm_f32(isa_);
  for (std::size_t first = 0; first < rows.rows(); first += kBlockRows) {
    const std::size_t count = std::min(kBlockRows, rows.rows() - first);
    const Matrix turned = transposed(rows.rows_from(first, count), pool);
    add_products(kernel, turned.view(), sum_.view(), pool);
  }
  rows_ += rows.rows();
  compensation_.reset();
}

void weigh_first_row(double share, std::span<const std::int32_t> positions,
                     MatrixView<float> rows) {
  require(share >= 0 && share < 1, "a share of rows is in [0, 1)");
  require(positions.size() == rows.rows(), "every row has a position");
  const std::size_t count = positions.size();
  if (count == 0 || positions.front() != 0) return;
  const double weight = share / (1 - share) * static_cast<double>(count - 1);
  if (weight <= 1) return;
  const auto factor = static_cast<float>(std::sqrt(weight));
  for (float& value : rows.row(0)) value *= factor;
}

}  // namespace tender::quant
