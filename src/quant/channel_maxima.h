#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// The largest |x| of every channel over the calibration rows of a site: what methods with ranges
/// per channel, or one for all, are made from.
///
///     part METHOD_largest  float32 [in]
///     part METHOD_rows     int64 [1]     rows that were seen
class ChannelMaxima {
 public:
  /// @param method  prefixes the names of the parts
  ChannelMaxima(std::string_view method, std::size_t in) : method_(method), largest_(in, 0.0F) {}
  /// @throws Error invalid_input (Q_NONFINITE)
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file
  void load(const PartSource& source);
  void merge(const ChannelMaxima& other);
  /// [in]; zeros where no row was seen.
  std::span<const float> largest() const { return largest_; }
  std::int64_t rows() const { return rows_; }

 private:
  std::string_view method_;
  std::int64_t rows_ = 0;
  std::vector<float> largest_;
};

}  // namespace tender::quant
