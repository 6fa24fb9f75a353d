#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/attention_bits.h"
#include "kernels/attention_f32/attention_f32.h"
#include "kernels/round_rows/round_rows.h"
#include "tensor/matrix.h"

namespace tender::kernels {

/// What calibration knows of the keys and values of a layer; all three empty, or each
/// [kv_heads * head_width]. None of it depends on the bits.
struct KvStatics {
  static constexpr int kMaxGroup = 15;

  std::vector<float> key_bias;  ///< middle of a channel's range, taken from every key
  /// i: keys of the channel are divided by 2^i, and queries multiplied by it, which is exact.
  std::vector<std::uint8_t> key_groups;
  /// i: values of the channel are divided by 2^i, and results multiplied by it.
  std::vector<std::uint8_t> value_groups;
};

/// Keys and values of one layer of one sequence as integers, with steps of their own for every
/// position and KV head: nothing about a position depends on others.
///
///     key   = bias + 2^group * step * code,  step = max over the head's channels / top
///     value =        2^group * step * code   top  = 127 at 8 bits, 7 at 4; |code| <= top
///
///     keys    [kv_head][block of 16 positions][quad of channels][16 positions][4 channels]
///     values  [kv_head][quad of positions][value_stride channels][4 positions]
///     value_stride = head_width rounded up to 16
///
/// At 8 bits a byte of keys is code + 128, one of values the code. At 4 bits a byte holds
/// code + 8 of two quads, the even one in its low nibble. Where a key or a value of a head is not
/// finite, its key step is NaN, and so is every row that sees it.
///
/// Memory for `capacity` positions, rounded up to 64, is reserved at once; the system provides its
/// pages as they are written.
class KvI8 {
 public:
  static constexpr std::size_t kLane = 16;
  static constexpr std::size_t kBlock = 64;  ///< positions whose probabilities share a step

  /// @param statics   of the layer, or null; outlives the cache, as does `rounding`
  /// @param rounding  that rounds keys, values and queries; all give the same bits
  KvI8(AttentionShape shape, std::size_t capacity, AttentionBits bits, const KvStatics* statics,
       const RoundRowsKernel& rounding);

  /// Of keys, values and their steps, for each position and all KV heads together.
  static std::size_t bytes_per_token(AttentionShape shape, int cache_bits);

  AttentionShape shape() const { return shape_; }
  AttentionBits bits() const { return bits_; }
  std::size_t tokens() const { return tokens_; }
  std::size_t capacity() const { return capacity_; }
  /// Of the reserved memory.
  std::size_t bytes() const { return positions_ * bytes_per_token(shape_, bits_.cache); }
  const RoundRowsKernel& rounding() const { return *rounding_; }

  /// Adds positions tokens() … tokens() + k.rows() - 1; they must fit.
  /// @param k  [tokens, kv_heads * head_width], rotated   @param v  of the same shape
  void append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool);
  /// Forgets all positions from `tokens` on.
  void truncate(std::size_t tokens);

  /// Channels of a key as stored: head_width rounded up to whole quads, pairs of them at 4 bits.
  std::size_t key_stride() const { return key_stride_of(shape_, bits_.cache); }
  std::size_t value_stride() const { return value_stride_of(shape_); }
  const std::uint8_t* keys(std::size_t kv_head) const {
    return keys_.data() + kv_head * key_bytes_;
  }
  const std::uint8_t* values(std::size_t kv_head) const {
    return values_.data() + kv_head * value_bytes_;
  }
  const float* key_steps(std::size_t kv_head) const {
    return steps_.data() + 2 * kv_head * positions_;
  }
  const float* value_steps(std::size_t kv_head) const { return key_steps(kv_head) + positions_; }
  /// 2^group of a head's channels, [head_width]; null where there are no statics.
  const float* query_factors(std::size_t kv_head) const { return of_head(query_factors_, kv_head); }
  const float* value_factors(std::size_t kv_head) const { return of_head(value_factors_, kv_head); }

 private:
  static std::size_t key_stride_of(AttentionShape shape, int cache_bits);
  static std::size_t value_stride_of(AttentionShape shape) {
    return (shape.head_width + kLane - 1) / kLane * kLane;
  }
  const float* of_head(const std::vector<float>& all, std::size_t kv_head) const {
    return all.empty() ? nullptr : all.data() + kv_head * shape_.head_width;
  }
  void put_key(std::size_t kv_head, std::size_t position, const std::int16_t* codes);
  void put_value(std::size_t kv_head, std::size_t position, const std::int16_t* codes);

  AttentionShape shape_;
  std::size_t capacity_;
  std::size_t positions_;  ///< that memory is there for
  AttentionBits bits_;
  const KvStatics* statics_;
  const RoundRowsKernel* rounding_;
  std::size_t key_bytes_;    ///< of one head
  std::size_t value_bytes_;  ///< likewise
  std::size_t tokens_ = 0;
  AlignedBuffer<std::uint8_t> keys_;
  AlignedBuffer<std::uint8_t> values_;
  AlignedBuffer<float> steps_;                        ///< [kv_head][of keys, of values][positions_]
  std::vector<float> query_factors_, value_factors_;  ///< [kv_heads * head_width], or empty
  std::vector<float> key_multipliers_, value_multipliers_;  ///< their reciprocals
};

/// Rounded query rows of one KV head; row i as in AttentionTask: token i / group.
struct AttentionI8Task {
  const std::int8_t* q;        ///< [tokens * group, q_stride], 0 from head_width on
  const float* q_factors;      ///< [tokens * group]
  const std::int32_t* q_sums;  ///< [tokens * group], of the codes
  std::size_t q_stride;        ///< KvI8::key_stride()
  float* out;                  ///< [tokens, heads * head_width], tokens out_stride apart
  std::size_t out_stride;
  const std::uint8_t* keys;    ///< as in KvI8, of this KV head
  const std::uint8_t* values;  ///< likewise
  const float* key_steps;      ///< [positions]
  const float* value_steps;    ///< [positions]
  const float* value_factors;  ///< [head_width], or null for ones
  bool nibbles;                ///< a cache of 4 bits
  float most;                  ///< highest code of a probability: 255 or 15
  std::size_t head_width;
  std::size_t value_stride;
  std::size_t first_head;
  std::size_t group;
  std::size_t first_position;
  std::size_t window;
  std::size_t begin;
  std::size_t end;
  float* scratch;  ///< attention_i8_scratch() floats
};

/// For the rounded query q at position t, over the keys j that it sees:
///     s[j] = (float(sum over d of q[d] k[j][d]) * key_step[j]) * q_factor
///     p[j] = exp_f32(s[j] - max s),  total = sum p as in attention_f32
/// and, for each block b of 64 positions that holds such a key (from a multiple of 64 on, so that a
/// row depends on its own position alone):
///     w[j] = p[j] * value_step[j],  top = max w
///     u[j] = rne(min(w[j] * (most / top), most)), step = top / most; both 0 where top < 2^-100
///     a[d] = fma(float(sum over j of u[j] v[j][d]), step, a[d]), from a = 0, in rising b
///     out[d] = (a[d] / total) * value_factor[d]
/// The sums over d and j are exact integers, below 2^24 for heads up to 1040 wide. The same bits in
/// every kernel; NaN where the definition gives NaN.
using AttentionI8Fn = void (*)(const AttentionI8Task& task);

struct AttentionI8Kernel {
  std::string_view name;
  Isa needs;
  std::size_t tile;  ///< query rows that share the loads of keys and values
  AttentionI8Fn run;
};

/// Best first; the scalar one is the definition.
std::span<const AttentionI8Kernel> attention_i8_kernels();
const AttentionI8Kernel& best_attention_i8(Isa isa);

/// Causal attention of all heads over a cache of integers. A query row is rounded to signed codes
/// of its own step, max |q| / top, top = 127 at 8 bits, 7 at 4.
/// @param out  [tokens, heads * head_width], not overlapping q
void attend(const AttentionI8Kernel& kernel, const KvI8& cache, const AttentionQuery& query,
            MatrixView<float> out, ThreadPool& pool);

}  // namespace tender::kernels
