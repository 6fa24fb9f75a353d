#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::kernels {

struct AttentionShape {
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  ///< divides heads; query head h reads KV head h / (heads / kv_heads)
  std::size_t head_width = 0;
};

/// Keys and values of one layer of one sequence, in float32.
///
///     keys    [kv_head][block of 16 positions][head_width][16 positions]
///     values  [kv_head][position][value_stride]   value_stride = head_width rounded up to 16,
///     padded with 0
///
/// Memory for `capacity` positions is reserved at once; the system provides its pages as they are
/// written.
class KvF32 {
 public:
  static constexpr std::size_t kBlock = 16;

  KvF32(AttentionShape shape, std::size_t capacity);

  /// Of keys and values, for each position and all KV heads together.
  static std::size_t bytes_per_token(AttentionShape shape) {
    const std::size_t stride = (shape.head_width + kBlock - 1) / kBlock * kBlock;
    return shape.kv_heads * (shape.head_width + stride) * sizeof(float);
  }

  AttentionShape shape() const { return shape_; }
  std::size_t tokens() const { return tokens_; }
  std::size_t capacity() const { return capacity_; }
  /// Of the reserved memory.
  std::size_t bytes() const { return (keys_.size() + values_.size()) * sizeof(float); }

  /// Adds positions tokens() … tokens() + k.rows() - 1; they must fit.
  /// @param k  [tokens, kv_heads * head_width], rotated   @param v  of the same shape
  void append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool);
  /// Forgets all positions from `tokens` on.
  void truncate(std::size_t tokens);

  std::size_t value_stride() const { return (shape_.head_width + kBlock - 1) / kBlock * kBlock; }
  const float* keys(std::size_t kv_head) const {
    return keys_.data() + kv_head * blocks_ * shape_.head_width * kBlock;
  }
  const float* values(std::size_t kv_head) const {
    return values_.data() + kv_head * capacity_ * value_stride();
  }

 private:
  AttentionShape shape_;
  std::size_t capacity_;
  std::size_t blocks_;
  std::size_t tokens_ = 0;
  AlignedBuffer<float> keys_;
  AlignedBuffer<float> values_;
};

/// Some query rows of one KV head. Row i is the query of token first_row + i / group for head
/// first_head + i % group, i in [begin, end); it sees the keys up to its own position, at most
/// `window` of them.
struct AttentionTask {
  const float* q;  ///< [tokens, heads * head_width], tokens q_stride apart
  std::size_t q_stride;
  float* out;  ///< of the same shape
  std::size_t out_stride;
  const float* keys;    ///< as in KvF32, of this KV head
  const float* values;  ///< likewise
  std::size_t head_width;
  std::size_t value_stride;
  std::size_t first_head;
  std::size_t group;           ///< query heads per KV head
  std::size_t first_position;  ///< of token 0
  std::size_t window;          ///< 0: no limit
  float scale;
  std::size_t begin;
  std::size_t end;
  float* scratch;  ///< attention_scratch() floats
};

/// For the query q at position t, over the keys j that it sees:
///     s[j] = (fma chain over d, rising from 0, of q[d] k[j][d]) * scale
///     p[j] = exp_f32(s[j] - max s)
///     out[d] = (fma chain over j, rising from 0, of p[j] v[j][d]) / sum p
/// The sum runs over 16 lanes, lane = j mod 16, each in rising order, missing ones as +0; then
/// lanes j and j + 8 are added, j + 4, j + 2, j + 1. A row therefore depends on its own position
/// alone, not on batch, threads or what else is cached. The same bits in every kernel; NaN where
/// the definition gives NaN.
using AttentionFn = void (*)(const AttentionTask& task);

struct AttentionKernel {
  std::string_view name;
  Isa needs;
  std::size_t tile;  ///< query rows that share the loads of keys and values
  AttentionFn run;
};

/// Best first; the scalar one is the definition.
std::span<const AttentionKernel> attention_kernels();
const AttentionKernel& best_attention(Isa isa);

/// Queries of one sequence: causal attention of all heads.
struct AttentionQuery {
  MatrixView<const float> q;       ///< [tokens, heads * head_width], rotated
  std::size_t first_position = 0;  ///< of q's first row; all of q's positions are in the cache
  float scale = 1;                 ///< as a rule 1 / sqrt(head_width)
  std::size_t window = 0;          ///< most keys that a query sees, its own included; 0: all
};

/// @param out  [tokens, heads * head_width], not overlapping q
void attend(const AttentionKernel& kernel, const KvF32& cache, const AttentionQuery& query,
            MatrixView<float> out, ThreadPool& pool);

}  // namespace tender::kernels
