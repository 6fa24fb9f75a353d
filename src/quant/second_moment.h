#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "quant/gptq/compensation.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// Second moment of the rows of a site as its product sees them: H = sum over rows of x xᵀ. What an
/// error of the weights costs: rows · (w - q) has the squared norm (w - q)ᵀ H (w - q).
///
/// The same bits for any number of threads and on any CPU: products of kBlockRows rows are chains
/// of float32 fused multiply-adds (kernels/gemm_f32), blocks are added in double in the order of
/// the rows. A block never crosses the border of two calls of add().
class SecondMoment {
 public:
  static constexpr std::size_t kBlockRows = 512;

  SecondMoment(std::size_t in, Isa isa);
  /// One that is known. @param sum  [in, in], symmetric
  explicit SecondMoment(MatrixOf<double> sum);

  /// @param rows  [tokens, in], all finite
  void add(MatrixView<const float> rows, ThreadPool& pool);

  std::size_t in() const { return sum_.rows(); }
  std::size_t rows() const { return rows_; }
  /// [in, in], symmetric.
  MatrixView<const double> sum() const { return sum_.view(); }
  /// What errors cost under it, factorized once for all layers of a site; not for concurrent calls.
  /// @throws Error invalid_input (Q_MOMENT)
  const Compensation& compensation(const CompensationOptions& options) const;

 private:
  Isa isa_;
  std::size_t rows_ = 0;
  MatrixOf<double> sum_;
  mutable std::optional<std::pair<CompensationOptions, Compensation>> compensation_;
};

/// Makes the first row of a sequence count as `share` of all its rows in a second moment, whatever
/// the length of the sequence: the row is multiplied by the root of share / (1 - share) times the
/// number of the others, where that is more than 1. Scaling rows by their importance is RSQ's (Sung
/// et al. 2025, arXiv 2503.01820); the first token is the one that most others attend to.
/// @param share  in [0, 1); 0 changes nothing
/// @param rows   of one sequence, in order  @param positions  [rows]
void weigh_first_row(double share, std::span<const std::int32_t> positions, MatrixView<float> rows);

}  // namespace tender::quant
