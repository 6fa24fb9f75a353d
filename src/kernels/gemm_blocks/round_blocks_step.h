#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm_blocks/gemm_blocks.h"

// For the ISA files alone: each gets a copy of its own, compiled with its own flags.
namespace tender::kernels {
namespace {

/// The step of a block whose largest magnitude has these bits. Where there is no step to round by
/// (nothing, or a value that is not finite) codes and sums are 0 and it returns false.
inline bool begin_block(std::uint32_t magnitude, int qmax, std::int8_t* codes, float* step,
                        std::int32_t* sums) {
  constexpr std::uint32_t kNotFinite = 0x7f800000U;
  constexpr std::uint32_t kNan = 0x7fc00000U;
  float most = 0;
  std::memcpy(&most, &magnitude, sizeof most);
  if (magnitude < kNotFinite && most >= 0x1p-100F) {
    *step = most / static_cast<float>(qmax);
    return true;
  }
  *step = 0;
  sums[0] = sums[1] = 0;
  if (magnitude >= kNotFinite) std::memcpy(step, &kNan, sizeof kNan);
  std::memset(codes, 0, PanelsBlocks::kBlock);
  return false;
}

}  // namespace
}  // namespace tender::kernels
