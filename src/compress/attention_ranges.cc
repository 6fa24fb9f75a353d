#include "compress/attention_ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "base/error.h"
#include "quant/parts.h"

namespace tender::compress {
namespace {

/// Groups of channels; the last ones take what lies below.
constexpr int kGroups = 8;

/// i: how often the largest of a head can be halved and still be at least the channel's, counted
/// from below: the channel's scale is 2^i. A channel on a threshold belongs to it.
void add_groups(std::span<const float> sizes, std::vector<std::uint8_t>& groups) {
  const float top = std::ranges::max(sizes);
  std::vector<int> halvings;
  for (float size : sizes) {
    int count = 0;
    for (; count < kGroups - 1 && size <= top / 2; ++count) size *= 2;
    halvings.push_back(count);
  }
  const int least = std::ranges::max(halvings);
  for (const int count : halvings) groups.push_back(static_cast<std::uint8_t>(least - count));
}

}  // namespace

AttentionRanges::AttentionRanges(const model::ModelInfo& info)
    : kv_heads_(info.kv_heads),
      head_width_(info.head_width),
      group_(info.heads / info.kv_heads),
      key_low_(kv_heads_ * head_width_, std::numeric_limits<float>::infinity()),
      key_high_(key_low_.size(), -std::numeric_limits<float>::infinity()),
      query_peak_(key_low_.size(), 0.0F),
      value_peak_(key_low_.size(), 0.0F) {}

void AttentionRanges::observe(const model::AttentionRows& rows) {
  // What is not a number stays in a range once it is there: no number is beyond it.
  const auto take = [](float x, bool beyond, float& range) {
    if (beyond || x != x) range = x;
  };
  const auto reach = [&](float x, float& peak) { take(std::fabs(x), std::fabs(x) > peak, peak); };
  for (std::size_t t = 0; t < rows.k.rows(); ++t) {
    for (std::size_t c = 0; c < key_low_.size(); ++c) {
      take(rows.k(t, c), rows.k(t, c) < key_low_[c], key_low_[c]);
      take(rows.k(t, c), rows.k(t, c) > key_high_[c], key_high_[c]);
      reach(rows.v(t, c), value_peak_[c]);
    }
    for (std::size_t head = 0; head < kv_heads_ * group_; ++head)
      for (std::size_t d = 0; d < head_width_; ++d)
        reach(rows.q(t, head * head_width_ + d), query_peak_[head / group_ * head_width_ + d]);
  }
}

void AttentionRanges::merge(const AttentionRanges& other) {
  for (std::size_t c = 0; c < key_low_.size(); ++c) {
    key_low_[c] = std::min(key_low_[c], other.key_low_[c]);
    key_high_[c] = std::max(key_high_[c], other.key_high_[c]);
    query_peak_[c] = std::max(query_peak_[c], other.query_peak_[c]);
    value_peak_[c] = std::max(value_peak_[c], other.value_peak_[c]);
  }
}

model::KvStatics AttentionRanges::settle(const std::string& name) const {
  model::KvStatics statics;
  std::vector<float> key_sizes;
  for (std::size_t c = 0; c < key_low_.size(); ++c) {
    const float reach = (key_high_[c] - key_low_[c]) / 2;
    if (!std::isfinite(reach) || !std::isfinite(query_peak_[c]) || !std::isfinite(value_peak_[c]))
      fail(ErrorKind::invalid_input,
           {.code = "Q_NONFINITE",
            .item = name,
            .found = "keys, values or queries that are not finite",
            .expected = "finite numbers",
            .hint = "the weights hold NaN or infinity: tender inspect --verify"},
           "{}: channel {} is not finite on the calibration text", name, c);
    statics.key_bias.push_back(key_low_[c] + reach);
    key_sizes.push_back(query_peak_[c] > 0 ? std::sqrt(reach / query_peak_[c]) : 0.0F);
  }
  for (std::size_t head = 0; head < kv_heads_; ++head) {
    const std::size_t first = head * head_width_;
    add_groups(std::span(key_sizes).subspan(first, head_width_), statics.key_groups);
    add_groups(std::span(value_peak_).subspan(first, head_width_), statics.value_groups);
  }
  return statics;
}

void AttentionRanges::save(PartSink& sink) const {
  const Shape shape{kv_heads_, head_width_};
  sink.put("key_low", DType::f32, shape, std::span<const float>(key_low_));
  sink.put("key_high", DType::f32, shape, std::span<const float>(key_high_));
  sink.put("query_peak", DType::f32, shape, std::span<const float>(query_peak_));
  sink.put("value_peak", DType::f32, shape, std::span<const float>(value_peak_));
}

void AttentionRanges::load(const PartSource& source) {
  const auto read = [&](std::string_view name, std::vector<float>& values) {
    values = quant::values_of<float>(source.get(name, DType::f32, {kv_heads_, head_width_}));
    quant::check_finite(source, name, values);
  };
  read("key_low", key_low_);
  read("key_high", key_high_);
  read("query_peak", query_peak_);
  read("value_peak", value_peak_);
  for (std::size_t c = 0; c < key_low_.size(); ++c)
    if (key_low_[c] > key_high_[c] || query_peak_[c] < 0 || value_peak_[c] < 0)
      quant::refuse_part(source, "key_low", "QC_RANGE", fmt::format("no range in channel {}", c),
                         "a least below a largest, and peaks that are magnitudes");
}

}  // namespace tender::compress
