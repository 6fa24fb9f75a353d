#include "quant/float_product.h"

namespace tender::quant {

void reference_product(MatrixView<const float> x, MatrixView<const float> w, MatrixView<double> y) {
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < w.cols(); ++k)
        sum += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
      y(m, n) = sum;
    }
}

}  // namespace tender::quant
