#include <cmath>

#include "kernels/attention_f32/attention_f32_kernels.h"
#include "kernels/math.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kBlock = KvF32::kBlock;

float score(const AttentionTask& task, const float* q, std::size_t j) {
  const float* k = task.keys + j / kBlock * task.head_width * kBlock + j % kBlock;
  float sum = 0;
  for (std::size_t d = 0; d < task.head_width; ++d) sum = std::fma(q[d], k[d * kBlock], sum);
  return sum * task.scale;
}

/// Turns scores of the keys [begin, end) into exponentials and returns their sum.
float exponentials(float* scores, std::size_t begin, std::size_t end) {
  float highest = -INFINITY;
  for (std::size_t j = begin; j < end; ++j) highest = highest > scores[j] ? highest : scores[j];
  float lanes[kBlock] = {};
  for (std::size_t j = begin; j < end; ++j) {
    scores[j] = exp_f32(scores[j] - highest);
    lanes[j % kBlock] += scores[j];
  }
  for (std::size_t half = kBlock / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  return lanes[0];
}

}  // namespace

void attention_f32_scalar(const AttentionTask& task) {
  float* scores = task.scratch;
  for (std::size_t row = task.begin; row < task.end; ++row) {
    const std::size_t token = row / task.group;
    const std::size_t column = (task.first_head + row % task.group) * task.head_width;
    const std::size_t end = task.first_position + token + 1;
    const std::size_t begin = task.window != 0 && end > task.window ? end - task.window : 0;
    const float* q = task.q + token * task.q_stride + column;
    for (std::size_t j = begin; j < end; ++j) scores[j] = score(task, q, j);
    const float sum = exponentials(scores, begin, end);
    float* out = task.out + token * task.out_stride + column;
    for (std::size_t d = 0; d < task.head_width; ++d) {
      float value = 0;
      for (std::size_t j = begin; j < end; ++j)
        value = std::fma(scores[j], task.values[j * task.value_stride + d], value);
      out[d] = value / sum;
    }
  }
}

}  // namespace tender::kernels
