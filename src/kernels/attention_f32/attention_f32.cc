#include "kernels/attention_f32/attention_f32.h"

#include <algorithm>
#include <array>

#include "base/contracts.h"
#include "base/kernel_choice.h"
#include "kernels/attention_f32/attention_f32_kernels.h"
#include "kernels/attention_tiles.h"

namespace tender::kernels {
namespace {

constexpr std::array kKernels = {
#if defined(__x86_64__)
    AttentionKernel{
        .name = "avx512", .needs = Isa::avx2 | Isa::avx512, .tile = 8, .run = attention_f32_avx512},
    AttentionKernel{.name = "avx2", .needs = Isa::avx2, .tile = 6, .run = attention_f32_avx2},
#endif
    AttentionKernel{.name = "scalar", .needs = Isa::scalar, .tile = 1, .run = attention_f32_scalar},
};

}  // namespace

KvF32::KvF32(AttentionShape shape, std::size_t capacity)
    : shape_(shape),
      capacity_(capacity),
      blocks_((capacity + kBlock - 1) / kBlock),
      keys_(shape.kv_heads * blocks_ * shape.head_width * kBlock),
      values_(shape.kv_heads * capacity * value_stride()) {
  require(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "KV heads are shared evenly");
}

void KvF32::append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool) {
  const std::size_t width = shape_.head_width, stride = value_stride();
  require(k.rows() == v.rows() && k.cols() == shape_.kv_heads * width && v.cols() == k.cols(),
          "keys and values are [tokens, kv_heads * head_width]");
  require(tokens_ + k.rows() <= capacity_, "the positions fit the cache");
  static_assert(kPositionsAtOnce % kBlock == 0, "a block of keys is written by one call");
  const auto write = [&](std::size_t h, std::size_t heads, std::size_t begin, std::size_t end) {
    for (; h < heads; ++h)
      for (std::size_t position = begin; position < end; ++position) {
        const std::size_t t = position - tokens_;
        const float* key = k.row(t).data() + h * width;
        float* column =
            keys_.data() + (h * blocks_ + position / kBlock) * width * kBlock + position % kBlock;
        for (std::size_t d = 0; d < width; ++d) column[d * kBlock] = key[d];
        float* value = values_.data() + (h * capacity_ + position) * stride;
        std::copy_n(v.row(t).data() + h * width, width, value);
        std::fill(value + width, value + stride, 0.0F);
      }
  };
  for_each_positions(shape_.kv_heads, tokens_, k.rows(), pool, write);
  tokens_ += k.rows();
}

void KvF32::truncate(std::size_t tokens) {
  require(tokens <= tokens_, "a cache is cut, not stretched");
  tokens_ = tokens;
}

std::span<const AttentionKernel> attention_kernels() { return kKernels; }
const AttentionKernel& best_attention(Isa isa) { return best_kernel(kKernels, isa); }

void attend(const AttentionKernel& kernel, const KvF32& cache, const AttentionQuery& query,
            MatrixView<float> out, ThreadPool& pool) {
  const AttentionShape shape = cache.shape();
  const std::size_t group = shape.heads / shape.kv_heads, tokens = query.q.rows();
  const std::size_t positions = query.first_position + tokens;
  require(query.q.cols() == shape.heads * shape.head_width && out.cols() == query.q.cols() &&
              out.rows() == tokens,
          "queries and outputs are [tokens, heads * head_width]");
  require(positions <= cache.tokens(), "every query's own key is in the cache");
  if (tokens == 0) return;
  const AttentionTiles tiles =
      AttentionTiles::cut(tokens * group, shape.kv_heads, kernel.tile, pool.threads());
  pool.for_each_part(shape.kv_heads * tiles.count(), [&](std::size_t begin, std::size_t end) {
    AlignedBuffer<float> scratch(attention_scratch(kernel.tile, positions, cache.value_stride()));
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t kv_head = item / tiles.count();
      const std::size_t first = tiles.at(item % tiles.count()) * tiles.tile;
      kernel.run({.q = query.q.data(),
                  .q_stride = query.q.stride(),
                  .out = out.data(),
                  .out_stride = out.stride(),
                  .keys = cache.keys(kv_head),
                  .values = cache.values(kv_head),
                  .head_width = shape.head_width,
                  .value_stride = cache.value_stride(),
                  .first_head = kv_head * group,
                  .group = group,
                  .first_position = query.first_position,
                  .window = query.window,
                  .scale = query.scale,
                  .begin = first,
                  .end = std::min(first + tiles.tile, tiles.rows),
                  .scratch = scratch.data()});
    }
  });
}

}  // namespace tender::kernels
