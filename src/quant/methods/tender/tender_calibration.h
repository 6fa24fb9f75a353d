#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quant/method.h"
#include "quant/methods/tender/tender_compat.h"
#include "quant/methods/tender/tender_rows.h"
#include "quant/rotation/rotation.h"
#include "quant/row_sample.h"

namespace tender::quant {

/// What calibration has seen: least and largest value of each channel in each row chunk, of rows as
/// they come, rotated, or both, and some of the rows where something is to be chosen by them.
/// Neither depends on the order of the sequences.
///
///     part tender_seen_chunk_rows        int32 [1]       positions per chunk; 0: one chunk
///     part tender_seen_rotated           int32 [1]       0: of rows as they come, 1: rotated,
///                                                        2: both; absent in files older than
///                                                        rotations
///     part tender_seen_rows              int64 [C]
///     part tender_seen_least, …_largest  float32 [C, in]
///     part tender_seen_rotated_least, …_largest          the same of rotated rows, of both only
///     parts of CompatStatistics          tender_compat.h; with compat numerics only
///     parts tender_seen_sample…          quant/row_sample.h; absent where no rows are kept; of
///                                                        both: as they come
class TenderCalibration {
 public:
  static constexpr std::size_t kSampleRows = 128;

  /// @param rotation  automatic: both
  TenderCalibration(const SiteShape& shape, std::size_t chunk_rows, bool keep_sample,
                    bool compat = false, TenderRotation rotation = TenderRotation::none);

  /// @throws Error invalid_input (Q_NONFINITE)
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file, invalid_input (Q_CALIBRATION) if it has seen other bases
  void load(const PartSource& source);
  void merge(const TenderCalibration& other);

  std::size_t in() const { return in_; }
  std::size_t chunk_rows() const { return chunk_rows_; }
  std::size_t chunks() const { return rows_.size(); }
  bool centre() const { return centre_; }
  /// Of rows as they come.
  bool nonnegative() const { return nonnegative_; }
  std::int64_t rows(std::size_t chunk) const { return rows_[chunk]; }
  /// @param rotated  of rotated rows, if they were seen
  std::span<const float> least(std::size_t chunk, bool rotated = false) const {
    return {of(rotated).least.data() + chunk * in_, in_};
  }
  std::span<const float> largest(std::size_t chunk, bool rotated = false) const {
    return {of(rotated).largest.data() + chunk * in_, in_};
  }
  /// Without chunks unless it was asked for.
  const CompatStatistics& compat() const { return statistics_; }
  /// Empty unless it was asked for. Rotated where rotated rows alone were seen.
  const RowSample& sample() const { return sample_; }

 private:
  struct Extremes {
    std::vector<float> least;    ///< [C, in]
    std::vector<float> largest;  ///< [C, in]

    void grow_to(std::size_t values);
    void see(std::span<const float> row, std::size_t at, bool first);
    void merge(const Extremes& other, std::size_t from, std::size_t to, bool first);
    void save(const std::string& name, std::size_t in, PartSink& sink) const;
    void load(const std::string& name, const Shape& shape, const PartSource& source);
  };

  bool sees_plain() const { return rotation_ != TenderRotation::hadamard; }
  bool sees_rotated() const { return rotation_ != TenderRotation::none; }
  const Extremes& of(bool rotated) const;
  void grow_to(std::size_t chunks);

  std::size_t in_;
  std::size_t chunk_rows_;
  bool centre_;
  bool nonnegative_;
  std::vector<std::int64_t> rows_;  ///< [C]
  TenderRotation rotation_;
  Rotation turn_;     ///< of size 0 where no rotated rows are seen
  Extremes plain_;    ///< of rows as they come; empty where those are not seen
  Extremes rotated_;  ///< likewise
  bool compat_;
  CompatStatistics statistics_;
  RowSample sample_;
};

}  // namespace tender::quant
