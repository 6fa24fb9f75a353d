#include "quant/channel_maxima.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "quant/method.h"
#include "quant/parts.h"

namespace tender::quant {

void ChannelMaxima::observe(const Rows& x) {
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    check_finite_row(x.values.row(m), m);
    for (std::size_t k = 0; k < largest_.size(); ++k)
      largest_[k] = std::max(largest_[k], std::abs(x.values(m, k)));
  }
  rows_ += static_cast<std::int64_t>(x.values.rows());
}

void ChannelMaxima::merge(const ChannelMaxima& other) {
  for (std::size_t k = 0; k < largest_.size(); ++k)
    largest_[k] = std::max(largest_[k], other.largest_[k]);
  rows_ += other.rows_;
}

void ChannelMaxima::save(PartSink& sink) const {
  sink.put<float>(part_of(method_, "largest"), DType::f32, {largest_.size()}, largest_);
  sink.put<std::int64_t>(part_of(method_, "rows"), DType::i64, {1}, std::span(&rows_, 1));
}

void ChannelMaxima::load(const PartSource& source) {
  const std::string largest = part_of(method_, "largest");
  largest_ = values_of<float>(source.get(largest, DType::f32, {largest_.size()}));
  check_finite(source, largest, largest_);
  for (const float value : largest_)
    if (value < 0) refuse_part(source, largest, "QC_RANGE", "a maximum below 0", "magnitudes");
  const std::string rows = part_of(method_, "rows");
  rows_ = values_of<std::int64_t>(source.get(rows, DType::i64, {1}))[0];
  check_number(source, rows, "the number of rows", rows_, 0,
               std::numeric_limits<std::int64_t>::max());
}

}  // namespace tender::quant
