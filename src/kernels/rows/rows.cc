#include "kernels/rows/rows.h"

#include <array>

#include "base/contracts.h"
#include "base/kernel_choice.h"
#include "kernels/rows/rows_kernels.h"

namespace tender::kernels {
namespace {

void same_shape(MatrixView<const float> x, MatrixView<const float> y) {
  require(x.rows() == y.rows() && x.cols() == y.cols(), "rows in and rows out have one shape");
}

template <class Body>
void for_each_row(MatrixView<float> y, ThreadPool& pool, Body body) {
  pool.for_each_part(y.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) body(r, y.row(r).data());
  });
}

}  // namespace

std::span<const RowKernel> row_kernels() {
  static const std::array kernels = {
#if defined(__x86_64__)
    rows_avx512,
    rows_avx2,
#endif
    rows_scalar,
  };
  return kernels;
}
const RowKernel& best_rows(Isa isa) { return best_kernel(row_kernels(), isa); }

void rms_norm(const RowKernel& kernel, MatrixView<const float> x, std::span<const float> weight,
              float epsilon, MatrixView<float> y, ThreadPool& pool) {
  same_shape(x, y);
  require(weight.size() == x.cols(), "a norm has one weight per column");
  for_each_row(y, pool, [&](std::size_t r, float* out) {
    kernel.rms_norm(x.row(r).data(), weight.data(), epsilon, out, x.cols());
  });
}

void layer_norm(const RowKernel& kernel, MatrixView<const float> x, std::span<const float> weight,
                std::span<const float> bias, float epsilon, MatrixView<float> y, ThreadPool& pool) {
  same_shape(x, y);
  require(weight.size() == x.cols() && (bias.empty() || bias.size() == x.cols()),
          "a norm has one weight and one bias, or none, per column");
  for_each_row(y, pool, [&](std::size_t r, float* out) {
    kernel.layer_norm(x.row(r).data(), weight.data(), bias.empty() ? nullptr : bias.data(), epsilon,
                      out, x.cols());
  });
}

void add(const RowKernel& kernel, MatrixView<const float> x, MatrixView<const float> z,
         MatrixView<float> y, ThreadPool& pool) {
  same_shape(x, y);
  same_shape(z, y);
  for_each_row(y, pool, [&](std::size_t r, float* out) {
    kernel.add(x.row(r).data(), z.row(r).data(), out, x.cols());
  });
}

void relu(const RowKernel& kernel, MatrixView<const float> x, MatrixView<float> y,
          ThreadPool& pool) {
  same_shape(x, y);
  for_each_row(y, pool,
               [&](std::size_t r, float* out) { kernel.relu(x.row(r).data(), out, x.cols()); });
}

}  // namespace tender::kernels
