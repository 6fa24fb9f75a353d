// The lanes come first: the bodies are written against them.
// clang-format off
#include "kernels/lanes/avx2.h"
#include "kernels/lanes/exp_body.h"
#include "kernels/lanes/softmax_body.h"
#include "kernels/lanes/tile_body.h"
#include "kernels/attention_f32/attention_f32_body.h"
// clang-format on
#include "kernels/attention_f32/attention_f32_kernels.h"

namespace tender::kernels {

void attention_f32_avx2(const AttentionTask& task) { attention_f32_body(task); }

}  // namespace tender::kernels
