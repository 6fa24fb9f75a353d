#include "quant/methods/tender/tender_calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/parts.h"

namespace tender::quant {

void TenderCalibration::Extremes::grow_to(std::size_t values) {
  least.resize(values, 0.0F);
  largest.resize(values, 0.0F);
}

void TenderCalibration::Extremes::see(std::span<const float> row, std::size_t at, bool first) {
  for (std::size_t k = 0; k < row.size(); ++k) {
    least[at + k] = first ? row[k] : std::min(least[at + k], row[k]);
    largest[at + k] = first ? row[k] : std::max(largest[at + k], row[k]);
  }
}

void TenderCalibration::Extremes::merge(const Extremes& other, std::size_t from, std::size_t to,
                                        bool first) {
  for (std::size_t at = from; at < to; ++at) {
    least[at] = first ? other.least[at] : std::min(least[at], other.least[at]);
    largest[at] = first ? other.largest[at] : std::max(largest[at], other.largest[at]);
  }
}

void TenderCalibration::Extremes::save(const std::string& name, std::size_t in,
                                       PartSink& sink) const {
  const Shape shape = {least.size() / in, in};
  sink.put<float>(name + "_least", DType::f32, shape, least);
  sink.put<float>(name + "_largest", DType::f32, shape, largest);
}

void TenderCalibration::Extremes::load(const std::string& name, const Shape& shape,
                                       const PartSource& source) {
  least = values_of<float>(source.get(name + "_least", DType::f32, shape));
  largest = values_of<float>(source.get(name + "_largest", DType::f32, shape));
  check_finite(source, name + "_least", least);
  check_finite(source, name + "_largest", largest);
  for (std::size_t i = 0; i < least.size(); ++i)
    if (least[i] > largest[i])
      refuse_part(source, name + "_least", "QC_RANGE", fmt::format("{} in place {}", least[i], i),
                  fmt::format("at most the largest, {}", largest[i]));
}

TenderCalibration::TenderCalibration(const SiteShape& shape, std::size_t chunk_rows,
                                     bool keep_sample, bool compat, TenderRotation rotation)
    : in_(shape.in),
      chunk_rows_(chunk_rows),
      centre_(shape.centre),
      nonnegative_(shape.nonnegative),
      rotation_(rotation),
      turn_(rotation == TenderRotation::none ? Rotation() : Rotation(shape.in)),
      compat_(compat),
      statistics_(shape.in, chunk_rows, shape.centre,
                  shape.nonnegative && rotation == TenderRotation::none),
      sample_(shape.in, keep_sample ? kSampleRows : 0) {}

const TenderCalibration::Extremes& TenderCalibration::of(bool rotated) const {
  require(rotated ? sees_rotated() : sees_plain(), "rows were seen in this basis");
  return rotated ? rotated_ : plain_;
}

void TenderCalibration::grow_to(std::size_t chunks) {
  if (chunks <= rows_.size()) return;
  rows_.resize(chunks, 0);
  if (sees_plain()) plain_.grow_to(chunks * in_);
  if (sees_rotated()) rotated_.grow_to(chunks * in_);
}

void TenderCalibration::observe(const Rows& x) {
  for (std::size_t m = 0; m < x.values.rows(); ++m) check_finite_row(x.values.row(m), m);
  const Matrix turned = sees_rotated() ? turn_.rotated(x.values) : Matrix();
  for (std::size_t m = 0; m < turned.rows(); ++m) check_finite_row(turned.row(m), m);
  const Rows one_basis = {sees_plain() ? x.values : turned.view(), x.positions};
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const std::int32_t position = std::max(x.positions[m], 0);
    sample_.add({one_basis.values.row(m).data(), 1, in_}, std::span(&position, 1));
    const std::size_t chunk =
        chunk_rows_ == 0 ? 0 : static_cast<std::size_t>(position) / chunk_rows_;
    grow_to(chunk + 1);
    const bool first = rows_[chunk]++ == 0;
    if (sees_plain()) plain_.see(x.values.row(m), chunk * in_, first);
    if (sees_rotated()) rotated_.see(turned.row(m), chunk * in_, first);
  }
  if (compat_) statistics_.observe(one_basis);
}

void TenderCalibration::merge(const TenderCalibration& other) {
  require(rotation_ == other.rotation_, "both have seen the same bases");
  grow_to(other.chunks());
  for (std::size_t c = 0; c < other.chunks(); ++c) {
    if (other.rows_[c] == 0) continue;
    const bool first = rows_[c] == 0;
    if (sees_plain()) plain_.merge(other.plain_, c * in_, (c + 1) * in_, first);
    if (sees_rotated()) rotated_.merge(other.rotated_, c * in_, (c + 1) * in_, first);
    rows_[c] += other.rows_[c];
  }
  if (compat_) statistics_.merge(other.statistics_);
  sample_.merge(other.sample_);
}

void TenderCalibration::save(PartSink& sink) const {
  const std::array<std::int32_t, 1> meta = {static_cast<std::int32_t>(chunk_rows_)};
  sink.put<std::int32_t>("tender_seen_chunk_rows", DType::i32, {1}, meta);
  const std::array<std::int32_t, 1> rotated = {static_cast<std::int32_t>(rotation_)};
  sink.put<std::int32_t>("tender_seen_rotated", DType::i32, {1}, rotated);
  sink.put<std::int64_t>("tender_seen_rows", DType::i64, {rows_.size()}, rows_);
  (sees_plain() ? plain_ : rotated_).save("tender_seen", in_, sink);
  if (sees_plain() && sees_rotated()) rotated_.save("tender_seen_rotated", in_, sink);
  if (compat_) statistics_.save(sink);
  sample_.save("tender_seen_sample", sink);
}

void TenderCalibration::load(const PartSource& source) {
  const auto chunk_rows =
      values_of<std::int32_t>(source.get("tender_seen_chunk_rows", DType::i32, {1}))[0];
  check_number(source, "tender_seen_chunk_rows", "positions per chunk", chunk_rows,
               static_cast<std::int64_t>(chunk_rows_), static_cast<std::int64_t>(chunk_rows_));
  const auto rotated = static_cast<std::int32_t>(rotation_);
  const std::int32_t found =
      source.find("tender_seen_rotated")
          ? values_of<std::int32_t>(source.get("tender_seen_rotated", DType::i32, {1}))[0]
          : 0;
  check_number(source, "tender_seen_rotated", "rotated rows", found, 0,
               static_cast<std::int32_t>(kTenderRotations.size()) - 1);
  if (found != rotated) {
    const auto name = [](std::int32_t n) {
      return std::string(kTenderRotations[static_cast<std::size_t>(n)]);
    };
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .item = "rotation",
          .found = name(found),
          .expected = name(rotated),
          .hint = "ask for --rotation " + name(found) + ", or calibrate again"},
         "the calibration was made with rotation {}, and is asked for with {}", name(found),
         name(rotated));
  }
  const std::uint64_t chunks = get_ranked(source, "tender_seen_rows", DType::i64, 1).shape[0];
  rows_ = values_of<std::int64_t>(source.get("tender_seen_rows", DType::i64, {chunks}));
  (sees_plain() ? plain_ : rotated_).load("tender_seen", {chunks, in_}, source);
  if (sees_plain() && sees_rotated()) rotated_.load("tender_seen_rotated", {chunks, in_}, source);
  for (const std::int64_t rows : rows_)
    check_number(source, "tender_seen_rows", "the number of rows", rows, 0,
                 std::numeric_limits<std::int64_t>::max());
  if (compat_) statistics_.load(source);
  if (compat_ && statistics_.chunks() != rows_.size())
    refuse_part(source, "tender_seen_samples", "QC_RANGE",
                fmt::format("{} chunks", statistics_.chunks()), fmt::format("{}", rows_.size()));
  sample_.load("tender_seen_sample", source);
}

}  // namespace tender::quant
