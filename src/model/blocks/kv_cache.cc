#include "model/blocks/kv_cache.h"

#include <utility>

namespace tender::model {
namespace {

/// A cache of one kind of numbers with the kernel that reads it.
template <class Numbers, class Kernel>
class CacheOf final : public KvCache {
 public:
  CacheOf(Numbers numbers, const Kernel& kernel) : numbers_(std::move(numbers)), kernel_(kernel) {}

  std::size_t tokens() const override { return numbers_.tokens(); }
  std::size_t bytes() const override { return numbers_.bytes(); }
  void append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool) override {
    numbers_.append(k, v, pool);
  }
  void truncate(std::size_t tokens) override { numbers_.truncate(tokens); }
  void attend(const kernels::AttentionQuery& query, MatrixView<float> out,
              ThreadPool& pool) const override {
    kernels::attend(kernel_, numbers_, query, out, pool);
  }

 private:
  Numbers numbers_;
  const Kernel& kernel_;
};

}  // namespace

Attention::Attention(kernels::AttentionShape shape, Isa isa)
    : shape_(shape),
      in_float_(kernels::best_attention(isa)),
      in_integers_(kernels::best_attention_i8(isa)),
      rounding_(kernels::best_round_rows(isa)) {}

std::size_t Attention::bytes() const {
  std::size_t sum = 0;
  for (const kernels::KvStatics& layer : statics_)
    sum +=
        layer.key_bias.size() * sizeof(float) + layer.key_groups.size() + layer.value_groups.size();
  return sum;
}

std::unique_ptr<KvCache> Attention::new_cache(std::size_t layer, std::size_t capacity) const {
  if (!bits_)
    return std::make_unique<CacheOf<kernels::KvF32, kernels::AttentionKernel>>(
        kernels::KvF32(shape_, capacity), in_float_);
  const kernels::KvStatics* statics = statics_.empty() ? nullptr : &statics_[layer];
  return std::make_unique<CacheOf<kernels::KvI8, kernels::AttentionI8Kernel>>(
      kernels::KvI8(shape_, capacity, *bits_, statics, rounding_), in_integers_);
}

}  // namespace tender::model
