#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quant/methods/tender/tender_rows.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::quant {

// The arithmetic of the paper's released code (tender.md 2.3, 2.11, 3.3), for comparison with its
// numbers: thresholds and scales are float16, so deep groups are not exactly powers of two apart
// and the product is one of floats; rows are divided by their scale; dynamic statistics see the
// zero rows that fill up a chunk.

/// Scale of each group, float16 values as float32, at least 1e-9:
///
///     T_i = f16(f16(TMax) / 2^(G - 1 - i))        S_i = f16(T_i / qmax)
std::vector<float> compat_steps(const TenderInput& input, float tmax);
/// The i with T_(i-1) < f16(cmax) <= T_i; 0 takes everything up to T_0.
std::uint8_t compat_group(float cmax, float tmax, int groups);

/// How the rows of one chunk are rounded.
struct CompatChunk {
  std::vector<float> bias;  ///< [in], or empty
  std::vector<float> step;  ///< [in]
};

/// Rows as the product sees them, and what each was rounded by.
struct CompatRounded {
  Matrix values;  ///< [rows, in]: code * step, the bias not added back
  std::vector<CompatChunk> chunks;
  std::vector<std::uint32_t> chunk;  ///< [rows], a place in `chunks`
  std::uint64_t clipped = 0;         ///< values that have another code for the clamp
};

/// code = rne(clamp((x - bias) / S, -qmax - 1, qmax)), float32 and a quotient; where codes are
/// unsigned f16(f16(x) / S) in place of the quotient. A row that is not finite becomes NaN.
/// @param x  in the basis in which they are rounded
CompatRounded compat_rounded(const TenderInput& input, const Rows& x, ThreadPool& pool);

/// What the released code's two calibration runs keep (tender.md 3.2, 3.3): of every sequence the
/// mid-ranges of its chunks, which are averaged, and the TMax and CMax under the sequence's *own*
/// mid-range, of which the largest stay. The inference then takes the averaged bias off and clips
/// what that leaves above TMax.
///
///     part tender_seen_samples  int64 [C]      sequences that reached the chunk
///     part tender_seen_middles  int64 [C, in]  sum of their mid-ranges, in units of 2^-32: exact,
///                                              so that the order of the sequences does not matter
///     part tender_seen_tmax     float32 [C]
///     part tender_seen_cmax     float32 [C, in]
class CompatStatistics {
 public:
  CompatStatistics() = default;
  CompatStatistics(std::size_t in, std::size_t chunk_rows, bool centre, bool nonnegative)
      : in_(in), chunk_rows_(chunk_rows), centre_(centre), nonnegative_(nonnegative) {}

  /// @param x  one sequence
  /// @throws Error invalid_input (Q_NONFINITE) for values that float16 does not hold
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file
  void load(const PartSource& source);
  void merge(const CompatStatistics& other);

  std::size_t chunks() const { return samples_.size(); }
  std::int64_t samples(std::size_t chunk) const { return samples_[chunk]; }
  /// Metadata of a chunk that a sequence has reached. @param input  its groups are counted
  TenderChunk chunk(const TenderInput& input, std::size_t chunk) const;

 private:
  void grow_to(std::size_t chunks);
  void observe_chunk(std::size_t chunk, MatrixView<const float> rows);

  std::size_t in_ = 0;
  std::size_t chunk_rows_ = 0;
  bool centre_ = false;
  bool nonnegative_ = false;
  std::vector<std::int64_t> samples_;
  std::vector<std::int64_t> middles_;
  std::vector<float> tmax_;
  std::vector<float> cmax_;
};

}  // namespace tender::quant
