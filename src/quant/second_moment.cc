#include "quant/second_moment.h"

#include <algorithm>

#include "base/contracts.h"
#include "kernels/gemm_f32/gemm_f32.h"

namespace tender::quant {
namespace {

Matrix transposed(MatrixView<const float> rows) {
  Matrix turned(rows.cols(), rows.rows());
  constexpr std::size_t kTile = 32;  // both sides of a tile stay in the first cache
  for (std::size_t k0 = 0; k0 < rows.cols(); k0 += kTile)
    for (std::size_t m = 0; m < rows.rows(); ++m) {
      const auto row = rows.row(m);
      for (std::size_t k = k0; k < std::min(k0 + kTile, rows.cols()); ++k) turned(k, m) = row[k];
    }
  return turned;
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
  Matrix products(in(), in());
  for (std::size_t first = 0; first < rows.rows(); first += kBlockRows) {
    const std::size_t count = std::min(kBlockRows, rows.rows() - first);
    const Matrix turned = transposed(rows.rows_from(first, count));
    kernels::PanelsF32 panels({in(), count});
    panels.put(0, turned.view());
    kernels::gemm_f32(kernels::best_gemm_f32(isa_), turned.view(), panels, {}, products.view(),
                      pool);
    pool.for_each_part(in(), [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        const auto row = products.row(i);
        const auto sum = sum_.row(i);
        for (std::size_t k = 0; k < row.size(); ++k) sum[k] += static_cast<double>(row[k]);
      }
    });
  }
  rows_ += rows.rows();
  compensation_.reset();
}

}  // namespace tender::quant
