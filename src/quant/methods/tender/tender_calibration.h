#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/method.h"
#include "quant/methods/tender/tender_compat.h"
#include "quant/rotation/rotation.h"
#include "quant/row_sample.h"

namespace tender::quant {

/// What calibration has seen: least and largest value of each channel in each row chunk, and some
/// of the rows where a mode is to be chosen by them. Neither depends on the order of the sequences.
///
///     part tender_seen_chunk_rows        int32 [1]       positions per chunk; 0: one chunk
///     part tender_seen_rotated           int32 [1]       1 where rows were rotated first; absent
///     in
///                                                        files older than rotations
///     part tender_seen_rows              int64 [C]
///     part tender_seen_least, …_largest  float32 [C, in]
///     parts of CompatStatistics          tender_compat.h; with compat numerics only
///     parts tender_seen_sample…          quant/row_sample.h; absent where no rows are kept
class TenderCalibration {
 public:
  static constexpr std::size_t kSampleRows = 128;

  TenderCalibration(const SiteShape& shape, std::size_t chunk_rows, bool keep_sample,
                    bool compat = false);

  /// From now on statistics are of the rows in another basis.
  void rotate(Rotation rotation) { rotation_ = std::move(rotation); }
  /// @throws Error invalid_input (Q_NONFINITE)
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file
  void load(const PartSource& source);
  void merge(const TenderCalibration& other);

  std::size_t in() const { return in_; }
  std::size_t chunk_rows() const { return chunk_rows_; }
  std::size_t chunks() const { return rows_.size(); }
  bool centre() const { return centre_; }
  bool nonnegative() const { return nonnegative_; }
  std::int64_t rows(std::size_t chunk) const { return rows_[chunk]; }
  std::span<const float> least(std::size_t chunk) const {
    return {least_.data() + chunk * in_, in_};
  }
  std::span<const float> largest(std::size_t chunk) const {
    return {largest_.data() + chunk * in_, in_};
  }
  /// Without chunks unless it was asked for.
  const CompatStatistics& compat() const { return statistics_; }
  /// Empty unless it was asked for.
  const RowSample& sample() const { return sample_; }

 private:
  void observe_in_basis(const Rows& x);
  void grow_to(std::size_t chunks);

  std::size_t in_;
  std::size_t chunk_rows_;
  bool centre_;
  bool nonnegative_;
  std::vector<std::int64_t> rows_;  ///< [C]
  std::vector<float> least_;        ///< [C, in]
  std::vector<float> largest_;      ///< [C, in]
  bool compat_;
  CompatStatistics statistics_;
  Rotation rotation_;  ///< of size 0 where rows stay as they are
  RowSample sample_;
};

}  // namespace tender::quant
