#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "base/cpu.h"
#include "base/rng.h"
#include "tensor/matrix.h"

namespace tender::kernels::testing {

/// Near normal numbers.
inline Matrix random_matrix(std::size_t rows, std::size_t cols, Rng& rng) {
  Matrix m(rows, cols);
  for (float& x : m.span()) x = rng.normal();
  return m;
}

/// Finite floats of all sizes: denormals, both zeros and numbers near the largest among them.
inline float any_finite(Rng& rng) {
  while (true) {
    const auto bits = static_cast<std::uint32_t>(rng.next());
    if ((bits & 0x7f800000U) != 0x7f800000U) return std::bit_cast<float>(bits);
  }
}

/// The same bits, or both NaN: their payload is nobody's promise.
inline bool same_bits(float a, float b) {
  return (a != a && b != b) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

inline ::testing::AssertionResult same_bits(MatrixView<const float> got,
                                            MatrixView<const float> wanted) {
  if (got.rows() != wanted.rows() || got.cols() != wanted.cols())
    return ::testing::AssertionFailure() << "shapes differ";
  for (std::size_t r = 0; r < got.rows(); ++r)
    for (std::size_t c = 0; c < got.cols(); ++c)
      if (!same_bits(got(r, c), wanted(r, c)))
        return ::testing::AssertionFailure()
               << "[" << r << ", " << c << "] is " << got(r, c) << ", not " << wanted(r, c);
  return ::testing::AssertionSuccess();
}

/// Names the cases of a suite over an array of kernels.
struct KernelName {
  template <class Info>
  std::string operator()(const Info& case_info) const {
    return std::string(case_info.param.name);
  }
};

/// Skips the rest of a test where this CPU cannot run the kernel.
#define TENDER_RUNS_OR_SKIP(kernel)              \
  if (!contains(detected_isa(), (kernel).needs)) \
  GTEST_SKIP() << "this CPU lacks " << to_string((kernel).needs)

}  // namespace tender::kernels::testing
