#include "quant/methods/tender/tender_compat.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "quant/methods/tender/tender_dynamic.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr float kLeastStep = 1e-9F;
constexpr double kUnit = 0x1p-32;  // of sums of mid-ranges
constexpr float kMostHalf = 65504.0F;

float f16(float value) { return half_to_float(float_to_half(value)); }

/// T_i for i = 0 … G - 1.
float threshold(float tmax, int groups, int i) {
  return f16(f16(tmax) /
             static_cast<float>(std::uint32_t{1} << static_cast<unsigned>(groups - 1 - i)));
}

/// rne(clamp(quotient, low, high)).
float nearest(float quotient, float low, float high) {
  constexpr float kNoFraction = 0x1.8p23F;  // the addition rounds to nearest even
  return (std::min(std::max(quotient, low), high) + kNoFraction) - kNoFraction;
}

/// The nearest multiple of the unit.
std::int64_t units_of(float value) {
  const double units = static_cast<double>(value) / kUnit;
  return static_cast<std::int64_t>(units < 0 ? units - 0.5 : units + 0.5);
}

bool is_finite(std::span<const float> row) {
  return std::ranges::all_of(
      row, [](float value) { return std::abs(value) <= std::numeric_limits<float>::max(); });
}

/// @return how many values have another code for the clamp
std::uint64_t round_compat_row(const TenderInput& input, const CompatChunk& chunk,
                               std::span<const float> x, std::span<float> values) {
  if (!is_finite(x)) {
    std::ranges::fill(values, std::numeric_limits<float>::quiet_NaN());
    return 0;
  }
  std::uint64_t clipped = 0;
  const auto high = static_cast<float>(tender_highest_code(input));
  const float low = input.is_unsigned ? 0.0F : -high - 1;
  for (std::size_t k = 0; k < input.in; ++k) {
    const float centred = chunk.bias.empty() ? x[k] : x[k] - chunk.bias[k];
    const float quotient =
        input.is_unsigned ? f16(f16(centred) / chunk.step[k]) : centred / chunk.step[k];
    clipped += quotient >= high + 0.5F || quotient < low - 0.5F ? 1U : 0U;
    values[k] = nearest(quotient, low, high) * chunk.step[k];
  }
  return clipped;
}

CompatChunk compat_chunk(const TenderInput& input, float tmax, std::span<const float> bias,
                         std::span<const std::uint8_t> group) {
  const std::vector<float> steps = compat_steps(input, tmax);
  CompatChunk chunk{{bias.begin(), bias.end()}, {}};
  for (const std::uint8_t i : group) chunk.step.push_back(steps[i]);
  return chunk;
}

/// Calibrated metadata, chunk by chunk.
void add_static_chunks(const TenderInput& input, const Rows& x, CompatRounded& rounded) {
  for (std::size_t c = 0; c < input.chunks(); ++c) {
    const std::size_t at = c * input.in;
    const auto bias =
        input.bias.empty() ? std::span<const float>() : std::span(input.bias).subspan(at, input.in);
    rounded.chunks.push_back(
        compat_chunk(input, input.tmax[c], bias, std::span(input.group).subspan(at, input.in)));
  }
  for (const std::int32_t position : x.positions) {
    const std::size_t chunk =
        input.chunk_rows == 0
            ? 0
            : std::min(static_cast<std::size_t>(std::max(position, 0)) / input.chunk_rows,
                       input.chunks() - 1);
    rounded.chunk.push_back(static_cast<std::uint32_t>(chunk));
  }
}

void add_dynamic_chunks(const TenderInput& input, const Rows& x, CompatRounded& rounded) {
  for (const auto& [begin, end] : chunk_runs(x.positions, input.chunk_rows)) {
    const TenderChunk own = tender_chunk_of(input, x.values.rows_from(begin, end - begin));
    rounded.chunk.insert(rounded.chunk.end(), end - begin,
                         static_cast<std::uint32_t>(rounded.chunks.size()));
    rounded.chunks.push_back(compat_chunk(input, own.tmax, own.bias, own.group));
  }
}

}  // namespace

std::vector<float> compat_steps(const TenderInput& input, float tmax) {
  const auto high = static_cast<float>(tender_highest_code(input));
  std::vector<float> steps;
  for (int i = 0; i < input.groups; ++i)
    steps.push_back(std::max(f16(threshold(tmax, input.groups, i) / high), kLeastStep));
  return steps;
}

std::uint8_t compat_group(float cmax, float tmax, int groups) {
  for (int i = groups - 1; i > 0; --i)
    if (f16(cmax) > threshold(tmax, groups, i - 1)) return static_cast<std::uint8_t>(i);
  return 0;
}

CompatRounded compat_rounded(const TenderInput& input, const Rows& x, ThreadPool& pool) {
  CompatRounded rounded{Matrix(x.values.rows(), input.in), {}, {}, 0};
  if (input.mode == TenderMode::dynamic)
    add_dynamic_chunks(input, x, rounded);
  else
    add_static_chunks(input, x, rounded);
  std::atomic<std::uint64_t> clipped{0};
  pool.for_each_part(x.values.rows(), [&](std::size_t begin, std::size_t end) {
    std::uint64_t part = 0;
    for (std::size_t m = begin; m < end; ++m)
      part += round_compat_row(input, rounded.chunks[rounded.chunk[m]], x.values.row(m),
                               rounded.values.row(m));
    clipped.fetch_add(part, std::memory_order_relaxed);
  });
  rounded.clipped = clipped.load(std::memory_order_relaxed);
  return rounded;
}

void CompatStatistics::observe(const Rows& x) {
  for (const auto& [begin, end] : chunk_runs(x.positions, chunk_rows_)) {
    const auto position = static_cast<std::size_t>(std::max(x.positions[begin], 0));
    observe_chunk(chunk_rows_ == 0 ? 0 : position / chunk_rows_,
                  x.values.rows_from(begin, end - begin));
  }
}

void CompatStatistics::grow_to(std::size_t chunks) {
  if (chunks <= samples_.size()) return;
  samples_.resize(chunks, 0);
  middles_.resize(chunks * in_, 0);
  tmax_.resize(chunks, 0.0F);
  cmax_.resize(chunks * in_, 0.0F);
}

void CompatStatistics::merge(const CompatStatistics& other) {
  grow_to(other.chunks());
  for (std::size_t c = 0; c < other.chunks(); ++c) {
    samples_[c] += other.samples_[c];
    tmax_[c] = std::max(tmax_[c], other.tmax_[c]);
  }
  for (std::size_t at = 0; at < other.cmax_.size(); ++at) {
    middles_[at] += other.middles_[at];
    cmax_[at] = std::max(cmax_[at], other.cmax_[at]);
  }
}

void CompatStatistics::observe_chunk(std::size_t chunk, MatrixView<const float> rows) {
  grow_to(chunk + 1);
  TenderInput one;  // one sequence alone, as dynamic mode rounds it
  one.in = in_;
  one.groups = 1;
  one.chunk_rows = chunk_rows_;
  one.mode = TenderMode::dynamic;
  one.is_unsigned = nonnegative_;
  one.dynamic_bias = centre_ && !nonnegative_;
  one.compat = true;
  const Extremes extremes = extremes_of(one, rows);
  ++samples_[chunk];
  for (std::size_t k = 0; k < in_; ++k) {
    const float least = extremes.least[k], largest = extremes.largest[k];
    if (std::max(std::abs(least), std::abs(largest)) > kMostHalf)
      fail(ErrorKind::invalid_input,
           {.code = "Q_NONFINITE",
            .found = fmt::format("{}", std::abs(least) > kMostHalf ? least : largest),
            .expected = "values that float16 holds",
            .hint = "--numerics clean has no such limit"},
           "channel {} of a site reaches {}, which float16 does not hold", k,
           std::abs(least) > kMostHalf ? least : largest);
    const float bias = one.dynamic_bias ? 0.5F * largest + 0.5F * least : 0.0F;
    const float reach =
        nonnegative_ ? std::max(largest, 0.0F) : std::max(largest - bias, bias - least);
    middles_[chunk * in_ + k] += units_of(bias);
    cmax_[chunk * in_ + k] = std::max(cmax_[chunk * in_ + k], reach);
    tmax_[chunk] = std::max(tmax_[chunk], reach);
  }
}

TenderChunk CompatStatistics::chunk(const TenderInput& input, std::size_t chunk) const {
  TenderChunk made;
  made.tmax = tmax_[chunk];
  for (std::size_t k = 0; k < in_; ++k) {
    const std::size_t at = chunk * in_ + k;
    if (centre_ && !nonnegative_)
      made.bias.push_back(static_cast<float>(static_cast<double>(middles_[at]) * kUnit /
                                             static_cast<double>(samples_[chunk])));
    made.group.push_back(compat_group(cmax_[at], made.tmax, input.groups));
  }
  return made;
}

void CompatStatistics::save(PartSink& sink) const {
  const std::size_t chunks = samples_.size();
  sink.put<std::int64_t>("tender_seen_samples", DType::i64, {chunks}, samples_);
  sink.put<std::int64_t>("tender_seen_middles", DType::i64, {chunks, in_}, middles_);
  sink.put<float>("tender_seen_tmax", DType::f32, {chunks}, tmax_);
  sink.put<float>("tender_seen_cmax", DType::f32, {chunks, in_}, cmax_);
}

void CompatStatistics::load(const PartSource& source) {
  const std::uint64_t chunks = get_ranked(source, "tender_seen_samples", DType::i64, 1).shape[0];
  samples_ = values_of<std::int64_t>(source.get("tender_seen_samples", DType::i64, {chunks}));
  middles_ = values_of<std::int64_t>(source.get("tender_seen_middles", DType::i64, {chunks, in_}));
  tmax_ = values_of<float>(source.get("tender_seen_tmax", DType::f32, {chunks}));
  cmax_ = values_of<float>(source.get("tender_seen_cmax", DType::f32, {chunks, in_}));
  for (const std::int64_t samples : samples_)
    check_number(source, "tender_seen_samples", "the number of sequences", samples, 0,
                 std::numeric_limits<std::int64_t>::max());
  for (const auto& [name, values] :
       {std::pair{"tender_seen_tmax", &tmax_}, std::pair{"tender_seen_cmax", &cmax_}}) {
    check_finite(source, name, *values);
    for (const float value : *values)
      if (value < 0 || value > 2 * kMostHalf)
        refuse_part(source, name, "QC_RANGE", fmt::format("{}", value),
                    "magnitudes that float16 holds");
  }
}

}  // namespace tender::quant
