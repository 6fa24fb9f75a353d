#pragma once

#include <cstddef>

#include "kernels/attention_i8/attention_i8.h"

namespace tender::kernels {

/// Floats that a kernel may write while it works: per row of a tile the scores of all keys up to
/// `positions`, a byte for each of their codes, a step for each block, and the sums.
struct AttentionI8Scratch {
  std::size_t score_stride;  ///< scores, and bytes of codes, of a row
  std::size_t step_stride;
  std::size_t sum_stride;

  AttentionI8Scratch(std::size_t positions, std::size_t value_stride)
      : score_stride((positions + KvI8::kBlock - 1) / KvI8::kBlock * KvI8::kBlock),
        step_stride(score_stride / KvI8::kBlock),
        sum_stride(value_stride) {}
  std::size_t floats(std::size_t tile) const {
    return tile * (score_stride + score_stride / sizeof(float) + step_stride + sum_stride);
  }
};

void attention_i8_scalar(const AttentionI8Task& task);
void attention_i8_avx2(const AttentionI8Task& task);
void attention_i8_vnni(const AttentionI8Task& task);

}  // namespace tender::kernels
