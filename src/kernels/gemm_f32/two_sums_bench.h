#pragma once

#include <array>
#include <utility>

namespace tender::kernels::bench {

/// y[8, 48] = x[8, 256] * w[256, 48], all in L1: what the order of a sum costs where nothing else
/// does.
using OrderKernel = void (*)(const float* x, const float* w, float* y);

void one_sum(const float* x, const float* w, float* y);   ///< tiles 8 x 3 vectors: the kernel's own
void two_sums(const float* x, const float* w, float* y);  ///< tiles 4 x 3, even and odd k apart
void two_sums_of_one(const float* x, const float* w,
                     float* y);  ///< rows alone, even and odd k apart
void one_sum_of_one(const float* x, const float* w, float* y);  ///< rows alone

inline std::array<std::pair<const char*, OrderKernel>, 4> order_kernels() {
  return {{{"8_rows_one_sum", one_sum},
           {"4_rows_two_sums", two_sums},
           {"1_row_one_sum", one_sum_of_one},
           {"1_row_two_sums", two_sums_of_one}}};
}

}  // namespace tender::kernels::bench
