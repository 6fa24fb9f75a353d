#include "kernels/round_rows/round_rows.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/kernel_choice.h"

namespace tender::kernels {
namespace {

RowReach scale_row_scalar(const float* x, const float* bias, const float* multiplier,
                          std::size_t in, float* u) {
  RowReach reach;
  std::int32_t largest = 0;  // floats above zero order like the integers of their bits
  for (std::size_t k = 0; k < in; ++k) {
    float value = x[k];
    if (bias != nullptr) value -= bias[k];
    if (multiplier != nullptr) value *= multiplier[k];
    u[k] = value;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    reach.magnitude = std::max(reach.magnitude, bits & 0x7fffffffU);
    largest = std::max(largest, static_cast<std::int32_t>(bits));
  }
  reach.largest = std::bit_cast<float>(largest);
  return reach;
}

void round_row_scalar(const float* u, float factor, float low, float high, std::size_t in,
                      std::int16_t* codes) {
  // Adding it leaves no bits behind the point, and the addition rounds to nearest even.
  constexpr float kNoFraction = 0x1.8p23F;
  for (std::size_t k = 0; k < in; ++k) {
    const float value = std::max(std::min(u[k] * factor, high), low);
    codes[k] = static_cast<std::int16_t>((value + kNoFraction) - kNoFraction);
  }
}

// A magnitude is at most peak / 2^h where its bits are at most those of peak with h taken off the
// exponent: halving counts are a subtraction of integers, ties on a threshold included.
void round_elements_scalar(const float* x, float peak, float factor, float low, float high,
                           int groups, std::size_t in, std::int16_t* operands) {
  constexpr float kNoFraction = 0x1.8p23F;
  const auto top = std::bit_cast<std::uint32_t>(peak);
  const auto most = static_cast<std::uint32_t>(groups - 1);
  const float least = low < 0 ? -peak : 0.0F;
  for (std::size_t k = 0; k < in; ++k) {
    const float value = std::max(x[k], least);
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & 0x7fffffffU;
    const std::uint32_t halvings = std::min((top - magnitude) >> 23U, most);
    const float scaled = value * factor * std::bit_cast<float>((127U + halvings) << 23U);
    const float code = (std::max(std::min(scaled, high), low) + kNoFraction) - kNoFraction;
    operands[k] = static_cast<std::int16_t>(static_cast<std::int32_t>(code) *
                                            (std::int32_t{1} << (most - halvings)));
  }
}

constexpr std::array kKernels = {
#if defined(__x86_64__)
    RoundRowsKernel{"avx512", Isa::avx2 | Isa::avx512, isa::scale_row_avx512, isa::round_row_avx512,
                    isa::round_elements_avx512},
    RoundRowsKernel{"avx2", Isa::avx2, isa::scale_row_avx2, isa::round_row_avx2,
                    isa::round_elements_avx2},
#endif
    RoundRowsKernel{"scalar", Isa::scalar, scale_row_scalar, round_row_scalar,
                    round_elements_scalar},
};

}  // namespace

std::span<const RoundRowsKernel> round_rows_kernels() { return kKernels; }
const RoundRowsKernel& best_round_rows(Isa isa) { return best_kernel(kKernels, isa); }

}  // namespace tender::kernels
