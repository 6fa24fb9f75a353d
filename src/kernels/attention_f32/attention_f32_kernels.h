#pragma once

#include <cstddef>

#include "kernels/attention_f32/attention_f32.h"

namespace tender::kernels {

/// Floats that a kernel may write while it works: scores of a tile of rows over all keys up to
/// `positions`, then the rows themselves as they leave and enter registers.
inline std::size_t attention_scratch(std::size_t tile, std::size_t positions,
                                     std::size_t value_stride) {
  const std::size_t scores = (positions + KvF32::kBlock - 1) / KvF32::kBlock * KvF32::kBlock;
  return tile * (scores + 2 * value_stride);
}

void attention_f32_scalar(const AttentionTask& task);
void attention_f32_avx2(const AttentionTask& task);
void attention_f32_avx512(const AttentionTask& task);

}  // namespace tender::kernels
