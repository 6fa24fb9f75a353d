#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/attention_f32/attention_f32.h"
#include "kernels/attention_i8/attention_i8.h"
#include "tensor/matrix.h"

namespace tender::model {

/// Keys and values of one layer of one sequence, in whatever numbers, and attention over them.
/// Called a few times per layer and pass; loops are the kernels'.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual std::size_t tokens() const = 0;
  /// Of the reserved memory.
  virtual std::size_t bytes() const = 0;
  /// @param k  [tokens, kv_heads * head_width], rotated   @param v  of the same shape
  virtual void append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool) = 0;
  /// Forgets all positions from `tokens` on.
  virtual void truncate(std::size_t tokens) = 0;
  /// @param out  [tokens, heads * head_width], not overlapping q
  virtual void attend(const kernels::AttentionQuery& query, MatrixView<float> out,
                      ThreadPool& pool) const = 0;
};

/// How a model attends: in float, or in integers. Outlives the caches that it makes.
class Attention {
 public:
  /// In float.
  Attention(kernels::AttentionShape shape, Isa isa);
  /// In integers from here on.
  void use_integers(kernels::AttentionBits bits) { bits_ = bits; }
  /// What is known of all layers. No cache is there yet.
  void use_statics(std::vector<kernels::KvStatics> statics) { statics_ = std::move(statics); }

  /// Nothing in float.
  std::optional<kernels::AttentionBits> bits() const { return bits_; }
  /// Of what was calibrated.
  std::size_t bytes() const;
  /// An empty cache of a layer.
  std::unique_ptr<KvCache> new_cache(std::size_t layer, std::size_t capacity) const;

 private:
  kernels::AttentionShape shape_;
  const kernels::AttentionKernel& in_float_;
  const kernels::AttentionI8Kernel& in_integers_;
  const kernels::RoundRowsKernel& rounding_;
  std::optional<kernels::AttentionBits> bits_;
  std::vector<kernels::KvStatics> statics_;  ///< by layer
};

}  // namespace tender::model
