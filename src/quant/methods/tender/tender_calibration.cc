#include "quant/methods/tender/tender_calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "quant/parts.h"

namespace tender::quant {

TenderCalibration::TenderCalibration(const SiteShape& shape, std::size_t chunk_rows,
                                     bool keep_sample, bool compat)
    : in_(shape.in),
      chunk_rows_(chunk_rows),
      centre_(shape.centre),
      nonnegative_(shape.nonnegative),
      compat_(compat),
      statistics_(shape.in, chunk_rows, shape.centre, shape.nonnegative),
      sample_(shape.in, keep_sample ? kSampleRows : 0) {}

void TenderCalibration::grow_to(std::size_t chunks) {
  if (chunks <= rows_.size()) return;
  rows_.resize(chunks, 0);
  least_.resize(chunks * in_, 0.0F);
  largest_.resize(chunks * in_, 0.0F);
}

void TenderCalibration::observe(const Rows& x) {
  if (rotation_.size() == 0) return observe_in_basis(x);
  for (std::size_t m = 0; m < x.values.rows(); ++m) check_finite_row(x.values.row(m), m);
  const Matrix rotated = rotation_.rotated(x.values);
  observe_in_basis({rotated.view(), x.positions});
}

void TenderCalibration::observe_in_basis(const Rows& x) {
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const auto row = x.values.row(m);
    check_finite_row(row, m);
    const std::int32_t position = std::max(x.positions[m], 0);
    sample_.add({row.data(), 1, in_}, std::span(&position, 1));
    const std::size_t chunk =
        chunk_rows_ == 0 ? 0 : static_cast<std::size_t>(position) / chunk_rows_;
    grow_to(chunk + 1);
    float* least = least_.data() + chunk * in_;
    float* largest = largest_.data() + chunk * in_;
    if (rows_[chunk]++ == 0) {
      std::copy(row.begin(), row.end(), least);
      std::copy(row.begin(), row.end(), largest);
      continue;
    }
    for (std::size_t k = 0; k < in_; ++k) {
      least[k] = std::min(least[k], row[k]);
      largest[k] = std::max(largest[k], row[k]);
    }
  }
  if (compat_) statistics_.observe(x);
}

void TenderCalibration::merge(const TenderCalibration& other) {
  grow_to(other.chunks());
  for (std::size_t c = 0; c < other.chunks(); ++c) {
    if (other.rows_[c] == 0) continue;
    const bool first = rows_[c] == 0;
    for (std::size_t at = c * in_; at < (c + 1) * in_; ++at) {
      least_[at] = first ? other.least_[at] : std::min(least_[at], other.least_[at]);
      largest_[at] = first ? other.largest_[at] : std::max(largest_[at], other.largest_[at]);
    }
    rows_[c] += other.rows_[c];
  }
  if (compat_) statistics_.merge(other.statistics_);
  sample_.merge(other.sample_);
}

void TenderCalibration::save(PartSink& sink) const {
  const std::array<std::int32_t, 1> meta = {static_cast<std::int32_t>(chunk_rows_)};
  sink.put<std::int32_t>("tender_seen_chunk_rows", DType::i32, {1}, meta);
  const std::array<std::int32_t, 1> rotated = {rotation_.size() == 0 ? 0 : 1};
  sink.put<std::int32_t>("tender_seen_rotated", DType::i32, {1}, rotated);
  sink.put<std::int64_t>("tender_seen_rows", DType::i64, {rows_.size()}, rows_);
  sink.put<float>("tender_seen_least", DType::f32, {rows_.size(), in_}, least_);
  sink.put<float>("tender_seen_largest", DType::f32, {rows_.size(), in_}, largest_);
  if (compat_) statistics_.save(sink);
  sample_.save("tender_seen_sample", sink);
}

void TenderCalibration::load(const PartSource& source) {
  const auto chunk_rows =
      values_of<std::int32_t>(source.get("tender_seen_chunk_rows", DType::i32, {1}))[0];
  check_number(source, "tender_seen_chunk_rows", "positions per chunk", chunk_rows,
               static_cast<std::int64_t>(chunk_rows_), static_cast<std::int64_t>(chunk_rows_));
  const std::int32_t rotated = rotation_.size() == 0 ? 0 : 1;
  const std::int32_t found =
      source.find("tender_seen_rotated")
          ? values_of<std::int32_t>(source.get("tender_seen_rotated", DType::i32, {1}))[0]
          : 0;
  check_number(source, "tender_seen_rotated", "rotated rows", found, rotated, rotated);
  const std::uint64_t chunks = get_ranked(source, "tender_seen_rows", DType::i64, 1).shape[0];
  rows_ = values_of<std::int64_t>(source.get("tender_seen_rows", DType::i64, {chunks}));
  least_ = values_of<float>(source.get("tender_seen_least", DType::f32, {chunks, in_}));
  largest_ = values_of<float>(source.get("tender_seen_largest", DType::f32, {chunks, in_}));
  check_finite(source, "tender_seen_least", least_);
  check_finite(source, "tender_seen_largest", largest_);
  for (const std::int64_t rows : rows_)
    check_number(source, "tender_seen_rows", "the number of rows", rows, 0,
                 std::numeric_limits<std::int64_t>::max());
  for (std::size_t i = 0; i < least_.size(); ++i)
    if (least_[i] > largest_[i])
      refuse_part(source, "tender_seen_least", "QC_RANGE",
                  fmt::format("{} in place {}", least_[i], i),
                  fmt::format("at most the largest, {}", largest_[i]));
  if (compat_) statistics_.load(source);
  if (compat_ && statistics_.chunks() != rows_.size())
    refuse_part(source, "tender_seen_samples", "QC_RANGE",
                fmt::format("{} chunks", statistics_.chunks()), fmt::format("{}", rows_.size()));
  sample_.load("tender_seen_sample", source);
}

}  // namespace tender::quant
