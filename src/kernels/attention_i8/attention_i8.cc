#include "kernels/attention_i8/attention_i8.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/contracts.h"
#include "base/kernel_choice.h"
#include "kernels/attention_i8/attention_i8_kernels.h"
#include "kernels/attention_tiles.h"

namespace tender::kernels {
namespace {

constexpr std::array kKernels = {
#if defined(__x86_64__)
    AttentionI8Kernel{.name = "vnni",
                      .needs = Isa::avx2 | Isa::avx512 | Isa::vnni,
                      .tile = 8,
                      .run = attention_i8_vnni},
    AttentionI8Kernel{.name = "avx2", .needs = Isa::avx2, .tile = 6, .run = attention_i8_avx2},
#endif
    AttentionI8Kernel{
        .name = "scalar", .needs = Isa::scalar, .tile = 1, .run = attention_i8_scalar},
};

constexpr std::size_t kQuad = 4;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t rounded_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

/// Highest code of signed integers.
float top_of(int bits) { return bits == 4 ? 7.0F : 127.0F; }

/// A row of codes with the step that all of them share.
class Rounding {
 public:
  Rounding(const RoundRowsKernel& kernel, std::size_t width, int bits)
      : kernel_(kernel), scaled_(width), codes_(width), top_(top_of(bits)) {}

  /// Rounds (x - bias) * multiplier. @return the step, NaN where a value is not finite
  float round(const float* x, const float* bias, const float* multiplier) {
    const RowReach reach = kernel_.scale(x, bias, multiplier, scaled_.size(), scaled_.data());
    const float peak = std::bit_cast<float>(reach.magnitude);
    if (reach.magnitude >= kNotFinite || peak < 0x1p-100F) {  // nothing that has a reciprocal
      std::ranges::fill(codes_, std::int16_t{0});
      return reach.magnitude >= kNotFinite ? kNan : 0.0F;
    }
    kernel_.round(scaled_.data(), top_ / peak, -top_, top_, scaled_.size(), codes_.data());
    return peak / top_;
  }
  const std::int16_t* codes() const { return codes_.data(); }

 private:
  const RoundRowsKernel& kernel_;
  std::vector<float> scaled_;
  std::vector<std::int16_t> codes_;
  float top_;
};

/// 2^group of each channel, or 2^-group.
std::vector<float> powers(std::span<const std::uint8_t> groups, int sign) {
  std::vector<float> result;
  for (const std::uint8_t group : groups) result.push_back(std::ldexp(1.0F, sign * group));
  return result;
}

/// Sets one nibble of a byte.
void put_nibble(std::uint8_t& byte, bool high, int code) {
  const auto nibble = static_cast<unsigned>(code + 8);
  byte = static_cast<std::uint8_t>(high ? (byte & 0x0fU) | nibble << 4U : (byte & 0xf0U) | nibble);
}

}  // namespace

std::size_t KvI8::key_stride_of(AttentionShape shape, int cache_bits) {
  return rounded_up(shape.head_width, cache_bits == 4 ? 2 * kQuad : kQuad);
}

std::size_t KvI8::bytes_per_token(AttentionShape shape, int cache_bits) {
  const std::size_t codes = key_stride_of(shape, cache_bits) + value_stride_of(shape);
  return shape.kv_heads * (codes / (cache_bits == 4 ? 2 : 1) + 2 * sizeof(float));
}

KvI8::KvI8(AttentionShape shape, std::size_t capacity, AttentionBits bits, const KvStatics* statics,
           const RoundRowsKernel& rounding)
    : shape_(shape),
      capacity_(capacity),
      positions_(rounded_up(capacity, kBlock)),
      bits_(bits),
      statics_(statics),
      rounding_(&rounding),
      key_bytes_(positions_ * key_stride() / (bits.cache == 4 ? 2 : 1)),
      value_bytes_(positions_ * value_stride() / (bits.cache == 4 ? 2 : 1)),
      keys_(shape.kv_heads * key_bytes_),
      values_(shape.kv_heads * value_bytes_),
      steps_(shape.kv_heads * 2 * positions_) {
  require(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "KV heads are shared evenly");
  require((bits.cache == 8 || bits.cache == 4) && (bits.rows == 8 || bits.rows == 4),
          "attention has codes of 8 or 4 bits");
  if (statics_ == nullptr) return;
  const std::size_t channels = shape.kv_heads * shape.head_width;
  require(statics_->key_bias.size() == channels && statics_->key_groups.size() == channels &&
              statics_->value_groups.size() == channels,
          "statics are [kv_heads * head_width]");
  query_factors_ = powers(statics_->key_groups, 1);
  key_multipliers_ = powers(statics_->key_groups, -1);
  value_factors_ = powers(statics_->value_groups, 1);
  value_multipliers_ = powers(statics_->value_groups, -1);
}

void KvI8::append(MatrixView<const float> k, MatrixView<const float> v, ThreadPool& pool) {
  const std::size_t width = shape_.head_width;
  require(k.rows() == v.rows() && k.cols() == shape_.kv_heads * width && v.cols() == k.cols(),
          "keys and values are [tokens, kv_heads * head_width]");
  require(tokens_ + k.rows() <= capacity_, "the positions fit the cache");
  const std::vector<float> none;
  const std::vector<float>& bias = statics_ == nullptr ? none : statics_->key_bias;
  static_assert(kPositionsAtOnce % kLane == 0 && kPositionsAtOnce % (2 * kQuad) == 0,
                "a line of keys, and two quads of values in nibbles, are written by one call");
  const auto write = [&](std::size_t h, std::size_t heads, std::size_t begin, std::size_t end) {
    Rounding rounding(*rounding_, width, bits_.cache);
    for (; h < heads; ++h) {
      float* key_steps = steps_.data() + 2 * h * positions_;
      float* value_steps = key_steps + positions_;
      for (std::size_t position = begin; position < end; ++position) {
        const std::size_t t = position - tokens_;
        const float key_step = rounding.round(k.row(t).data() + h * width, of_head(bias, h),
                                              of_head(key_multipliers_, h));
        put_key(h, position, rounding.codes());
        const float value_step =
            rounding.round(v.row(t).data() + h * width, nullptr, of_head(value_multipliers_, h));
        put_value(h, position, rounding.codes());
        const bool finite = std::isfinite(value_step);
        key_steps[position] = finite ? key_step : kNan;
        value_steps[position] = finite ? value_step : 0.0F;
      }
    }
  };
  for_each_positions(shape_.kv_heads, tokens_, k.rows(), pool, write);
  tokens_ += k.rows();
}

void KvI8::put_key(std::size_t kv_head, std::size_t position, const std::int16_t* codes) {
  const bool nibbles = bits_.cache == 4;
  const std::size_t lines = key_stride() / kQuad / (nibbles ? 2 : 1);
  std::uint8_t* block = keys_.data() + kv_head * key_bytes_ +
                        position / kLane * lines * kLane * kQuad + position % kLane * kQuad;
  for (std::size_t d = 0; d < shape_.head_width; ++d) {
    const std::size_t quad = d / kQuad;
    if (nibbles)
      put_nibble(block[quad / 2 * kLane * kQuad + d % kQuad], quad % 2 == 1, codes[d]);
    else
      block[quad * kLane * kQuad + d % kQuad] = static_cast<std::uint8_t>(codes[d] + 128);
  }
}

void KvI8::put_value(std::size_t kv_head, std::size_t position, const std::int16_t* codes) {
  const bool nibbles = bits_.cache == 4;
  const std::size_t quad = position / kQuad;
  std::uint8_t* line = values_.data() + kv_head * value_bytes_ +
                       quad / (nibbles ? 2 : 1) * value_stride() * kQuad + position % kQuad;
  for (std::size_t d = 0; d < shape_.head_width; ++d) {
    if (nibbles)
      put_nibble(line[d * kQuad], quad % 2 == 1, codes[d]);
    else
      line[d * kQuad] = static_cast<std::uint8_t>(codes[d]);
  }
}

void KvI8::truncate(std::size_t tokens) {
  require(tokens <= tokens_, "a cache is cut, not stretched");
  tokens_ = tokens;
}

std::span<const AttentionI8Kernel> attention_i8_kernels() { return kKernels; }
const AttentionI8Kernel& best_attention_i8(Isa isa) { return best_kernel(kKernels, isa); }

namespace {

/// Query rows of all heads as codes: row (KV head * tokens + token) * group + head of the group, so
/// that those of a KV head follow each other.
struct RoundedQueries {
  AlignedBuffer<std::int8_t> codes;  ///< [rows, stride], 0 past head_width
  AlignedBuffer<float> factors;      ///< [rows], step times the scale of scores
  AlignedBuffer<std::int32_t> sums;  ///< [rows], of the codes

  RoundedQueries(const KvI8& cache, const AttentionQuery& query, ThreadPool& pool)
      : codes(query.q.rows() * cache.shape().heads * cache.key_stride()),
        factors(query.q.rows() * cache.shape().heads),
        sums(factors.size()) {
    const AttentionShape shape = cache.shape();
    const std::size_t group = shape.heads / shape.kv_heads, stride = cache.key_stride();
    const std::size_t width = shape.head_width, tokens = query.q.rows();
    pool.for_each_part(shape.kv_heads * tokens, [&](std::size_t begin, std::size_t end) {
      Rounding rounding(cache.rounding(), width, cache.bits().rows);
      for (std::size_t item = begin; item < end; ++item) {  // as the queries lie in memory
        const std::size_t token = item / shape.kv_heads, kv_head = item % shape.kv_heads;
        const float* q = query.q.row(token).data() + kv_head * group * width;
        const std::size_t first = (kv_head * tokens + token) * group;
        for (std::size_t row = first; row < first + group; ++row, q += width) {
          factors[row] = rounding.round(q, nullptr, cache.query_factors(kv_head)) * query.scale;
          const std::int16_t* from = rounding.codes();
          std::int8_t* to = codes.data() + row * stride;
          // Bytes stored through `to` may alias the captured width, but not a local.
          const std::int16_t* const end_of_row = from + width;
          sums[row] = std::accumulate(from, end_of_row, std::int32_t{0});
          std::fill(std::transform(from, end_of_row, to,
                                   [](std::int16_t n) { return static_cast<std::int8_t>(n); }),
                    to + stride, std::int8_t{0});
        }
      }
    });
  }
};

}  // namespace

void attend(const AttentionI8Kernel& kernel, const KvI8& cache, const AttentionQuery& query,
            MatrixView<float> out, ThreadPool& pool) {
  const AttentionShape shape = cache.shape();
  const std::size_t group = shape.heads / shape.kv_heads, tokens = query.q.rows();
  const std::size_t positions = query.first_position + tokens;
  require(query.q.cols() == shape.heads * shape.head_width && out.cols() == query.q.cols() &&
              out.rows() == tokens,
          "queries and outputs are [tokens, heads * head_width]");
  require(positions <= cache.tokens(), "every query's own key is in the cache");
  if (tokens == 0) return;
  const RoundedQueries rounded(cache, query, pool);
  const AttentionTiles tiles =
      AttentionTiles::cut(tokens * group, shape.kv_heads, kernel.tile, pool.threads());
  const std::size_t scratch_floats =
      AttentionI8Scratch(positions, cache.value_stride()).floats(kernel.tile);
  const std::size_t rows = tokens * group;
  pool.for_each_part(shape.kv_heads * tiles.count(), [&](std::size_t begin, std::size_t end) {
    AlignedBuffer<float> scratch(scratch_floats);
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t kv_head = item / tiles.count();
      const std::size_t first = tiles.at(item % tiles.count()) * tiles.tile;
      kernel.run({.q = rounded.codes.data() + kv_head * rows * cache.key_stride(),
                  .q_factors = rounded.factors.data() + kv_head * rows,
                  .q_sums = rounded.sums.data() + kv_head * rows,
                  .q_stride = cache.key_stride(),
                  .out = out.data(),
                  .out_stride = out.stride(),
                  .keys = cache.keys(kv_head),
                  .values = cache.values(kv_head),
                  .key_steps = cache.key_steps(kv_head),
                  .value_steps = cache.value_steps(kv_head),
                  .value_factors = cache.value_factors(kv_head),
                  .nibbles = cache.bits().cache == 4,
                  .most = cache.bits().rows == 4 ? 15.0F : 255.0F,
                  .head_width = shape.head_width,
                  .value_stride = cache.value_stride(),
                  .first_head = kv_head * group,
                  .group = group,
                  .first_position = query.first_position,
                  .window = query.window,
                  .begin = first,
                  .end = std::min(first + tiles.tile, tiles.rows),
                  .scratch = scratch.data()});
    }
  });
}

}  // namespace tender::kernels
