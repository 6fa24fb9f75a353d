#include "compress/measure.h"

#include <cmath>
#include <vector>

#include "base/contracts.h"

namespace tender::compress {

double relative_error(const quant::PackedSite& site, std::size_t linear,
                      MatrixView<const float> w) {
  Matrix kept(w.rows(), w.cols());
  site.dequantize(linear, kept.view());
  double signal = 0;
  double noise = 0;
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c) {
      const double value = w(r, c);
      const double off = value - static_cast<double>(kept(r, c));
      signal += value * value;
      noise += off * off;
    }
  if (signal == 0) return noise == 0 ? 0 : 1;
  return std::sqrt(noise / signal);
}

std::optional<double> output_sqnr(const SampleRows& sample, MatrixView<const float> w,
                                  MatrixView<const float> got) {
  const std::size_t rows = sample.positions.size();
  if (rows == 0) return std::nullopt;
  require(got.rows() == rows && got.cols() == w.rows() && sample.values.cols() == w.cols(),
          "got[rows, out] = x[rows, in] * W[out, in]^T");
  std::vector<double> across(w.cols() *
                             rows);  // [in, rows], so that one pass over W serves all rows
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t k = 0; k < w.cols(); ++k) across[k * rows + r] = sample.values(r, k);
  double signal = 0;
  double noise = 0;
  std::vector<double> exact(rows);
  for (std::size_t n = 0; n < w.rows(); ++n) {
    std::fill(exact.begin(), exact.end(), 0.0);
    for (std::size_t k = 0; k < w.cols(); ++k)
      for (std::size_t r = 0; r < rows; ++r)
        exact[r] += static_cast<double>(w(n, k)) * across[k * rows + r];
    for (std::size_t r = 0; r < rows; ++r) {
      const double off = exact[r] - static_cast<double>(got(r, n));
      signal += exact[r] * exact[r];
      noise += off * off;
    }
  }
  if (noise == 0 || signal == 0) return std::nullopt;
  return std::round(1000 * std::log10(signal / noise)) / 100;
}

}  // namespace tender::compress
