#include <cmath>

#include "kernels/attention_i8/attention_i8_kernels.h"
#include "kernels/math.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kLane = KvI8::kLane;
constexpr std::size_t kBlock = KvI8::kBlock;

/// The code of one of the two quads that share a byte.
int nibble(std::uint8_t byte, std::size_t quad) {
  return (quad % 2 == 1 ? byte >> 4 : byte & 0x0f) - 8;
}

int key_code(const AttentionI8Task& task, std::size_t position, std::size_t d) {
  const std::size_t shared = task.nibbles ? 2 : 1, quad = d / 4;
  const std::uint8_t* block = task.keys + position / kLane * (task.q_stride / shared) * kLane;
  const std::uint8_t byte = block[(quad / shared * kLane + position % kLane) * 4 + d % 4];
  return task.nibbles ? nibble(byte, quad) : byte - 128;
}

int value_code(const AttentionI8Task& task, std::size_t position, std::size_t d) {
  const std::size_t shared = task.nibbles ? 2 : 1, quad = position / 4;
  const std::uint8_t byte = task.values[(quad / shared * task.value_stride + d) * 4 + position % 4];
  return task.nibbles ? nibble(byte, quad) : static_cast<std::int8_t>(byte);
}

float score(const AttentionI8Task& task, std::size_t q_row, std::size_t j) {
  const std::int8_t* q = task.q + q_row * task.q_stride;
  std::int32_t sum = 0;
  for (std::size_t d = 0; d < task.head_width; ++d) sum += q[d] * key_code(task, j, d);
  return static_cast<float>(sum) * task.key_steps[j] * task.q_factors[q_row];
}

/// Turns scores of the keys [begin, end) into exponentials and returns their sum.
float exponentials(float* scores, std::size_t begin, std::size_t end) {
  float highest = -INFINITY;
  for (std::size_t j = begin; j < end; ++j) highest = highest > scores[j] ? highest : scores[j];
  float lanes[kLane] = {};
  for (std::size_t j = begin; j < end; ++j) {
    scores[j] = exp_f32(scores[j] - highest);
    lanes[j % kLane] += scores[j];
  }
  for (std::size_t half = kLane / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  return lanes[0];
}

/// Rounds the weights of the keys [begin, end), which lie in one block. @return their step
float round_weights(const AttentionI8Task& task, const float* p, std::size_t begin, std::size_t end,
                    std::uint8_t* codes) {
  constexpr float kNoFraction = 0x1.8p23F;  // adding it rounds to the nearest integer, ties to even
  float top = 0;
  for (std::size_t j = begin; j < end; ++j) {
    const float w = p[j] * task.value_steps[j];
    top = w > top ? w : top;
  }
  const bool usable = top >= 0x1p-100F;
  const float factor = usable ? task.most / top : 0.0F;
  for (std::size_t j = begin; j < end; ++j) {
    const float u = p[j] * task.value_steps[j] * factor;
    const float least = u < task.most ? u : task.most;  // a NaN is at most that, too
    codes[j] = static_cast<std::uint8_t>((least + kNoFraction) - kNoFraction);
  }
  return usable ? top / task.most : 0.0F;
}

void attend_row(const AttentionI8Task& task, std::size_t row) {
  const AttentionI8Scratch sizes(task.first_position + (task.end - 1) / task.group + 1,
                                 task.value_stride);
  float* scores = task.scratch;
  auto* codes = reinterpret_cast<std::uint8_t*>(scores + sizes.score_stride);
  float* sums = scores + sizes.score_stride + sizes.score_stride / 4 + sizes.step_stride;
  const std::size_t token = row / task.group, head = task.first_head + row % task.group;
  const std::size_t end = task.first_position + token + 1;
  const std::size_t begin = task.window != 0 && end > task.window ? end - task.window : 0;
  for (std::size_t j = begin; j < end; ++j) scores[j] = score(task, row, j);
  const float total = exponentials(scores, begin, end);
  for (std::size_t d = 0; d < task.head_width; ++d) sums[d] = 0;
  for (std::size_t block = begin / kBlock * kBlock; block < end; block += kBlock) {
    const std::size_t from = begin > block ? begin : block;
    const std::size_t to = end < block + kBlock ? end : block + kBlock;
    const float step = round_weights(task, scores, from, to, codes);
    for (std::size_t d = 0; d < task.head_width; ++d) {
      std::int32_t sum = 0;
      for (std::size_t j = from; j < to; ++j) sum += codes[j] * value_code(task, j, d);
      sums[d] = std::fma(static_cast<float>(sum), step, sums[d]);
    }
  }
  float* out = task.out + token * task.out_stride + head * task.head_width;
  for (std::size_t d = 0; d < task.head_width; ++d) {
    const float mean = sums[d] / total;
    out[d] = task.value_factors == nullptr ? mean : mean * task.value_factors[d];
  }
}

}  // namespace

void attention_i8_scalar(const AttentionI8Task& task) {
  for (std::size_t row = task.begin; row < task.end; ++row) attend_row(task, row);
}

}  // namespace tender::kernels
