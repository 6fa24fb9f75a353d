#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::quant {

/// In which order a sweep rounds the input channels.
enum class SweepOrder : std::uint8_t {
  natural,        ///< as they are stored
  largest_first,  ///< by descending H_kk, ties in natural order: the errors of the channels that
                  ///< matter most find all the others still free to make up for them
};
inline constexpr std::array<std::string_view, 2> kSweepOrders = {"natural", "largest-first"};

struct CompensationOptions {
  double damping = 0.01;  ///< share of the mean diagonal of H that is added to it, above 0
  SweepOrder order = SweepOrder::largest_first;
  friend bool operator==(const CompensationOptions&, const CompensationOptions&) = default;
};

/// What rounding errors cost at a site, ready for sweeps over its layers (GPTQ: Frantar et al.
/// 2022, arXiv 2210.17323, algorithm 1).
///
/// With H = sum of x xᵀ over the rows, an output's weights w rounded to q cost (w - q) H (w - q)ᵀ.
/// A sweep rounds one input channel at a time and moves the channels that are left so that they
/// make up for its error as well as they can:
///
///     e_j = (w_j - q_j) / U_jj,    w_k -= e_j * U_jk for k after j,    cost = sum of e_j^2
///
/// where U is upper triangular with Uᵀ U = (damped H)⁻¹. Cholesky factor and triangular inverse are
/// Eigen's, in double, on one thread and with fixed block sizes: the same bits on every CPU.
/// Memory: two double matrices [in, in] while it is made, one afterwards.
class Compensation {
 public:
  /// @param moment  H [in, in], symmetric; a channel k that was never seen has H_kk = 0 and is
  ///                rounded to nearest, on its own
  /// @throws Error invalid_input (Q_MOMENT) where H is not finite, or damped not positive definite
  Compensation(MatrixView<const double> moment, const CompensationOptions& options);

  std::size_t in() const { return order_.size(); }
  /// [in]: the channel that each step of the sweep rounds.
  std::span<const std::uint32_t> order() const { return order_; }
  /// U_jk, j and k counted in the order of the sweep, j <= k.
  double factor(std::size_t j, std::size_t k) const { return columns_(k, j); }
  /// U_jk for j in [0, k].
  std::span<const double> column(std::size_t k) const { return columns_.row(k).first(k + 1); }
  /// [in], H_kk in natural order: what a squared error in channel k costs on its own.
  std::span<const double> diagonal() const { return diagonal_; }
  /// What was added to the diagonal.
  double added() const { return added_; }

 private:
  std::vector<std::uint32_t> order_;
  std::vector<double> diagonal_;
  double added_ = 0;
  MatrixOf<double>
      columns_;  ///< [in, in], Uᵀ in the order of the sweep: what a step reads lies together
};

/// Outputs that one call of a sweep's callbacks is about.
struct SweepColumns {
  std::size_t first_output = 0;
  std::size_t outputs = 0;  ///< at most kSweepOutputs
};
inline constexpr std::size_t kSweepOutputs = 16;

/// Rounds channel `channel` of some outputs: values[i] is the weight of output first_output + i as
/// moved so far; rounded[i] takes the number that its code stands for. Called from several threads,
/// each output from one.
using RoundColumn = FunctionRef<void(const SweepColumns& columns, std::size_t channel,
                                     const double* values, double* rounded)>;

/// Told before the steps [begin, end) of the sweep: values[(step - begin) * kSweepOutputs + i],
/// moved for all errors of earlier steps. For codes that are chosen a group at a time.
using EnterBlock = FunctionRef<void(const SweepColumns& columns, std::size_t begin, std::size_t end,
                                    const double* values)>;

/// Rounds all channels of all outputs. Bits depend on neither threads nor `block`.
/// @param w      [out, in]
/// @param block  steps between two calls of `enter`, which is a speed matter where it does nothing
/// @return       the cost of each output [out], (w - q) (damped H) (w - q)ᵀ
std::vector<double> sweep_columns(const Compensation& compensation, MatrixView<const float> w,
                                  std::size_t block, EnterBlock enter, RoundColumn round,
                                  ThreadPool& pool);

}  // namespace tender::quant
