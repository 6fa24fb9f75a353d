#include "quant/gptq/compensation.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "base/contracts.h"
#include "base/error.h"

namespace tender::quant {
namespace {

using Square = Eigen::MatrixXd;

/// Eigen cuts products by the caches it finds, and sums would differ from CPU to CPU: these are
/// everybody's.
void fix_blocking() {
  static std::once_flag once;
  std::call_once(once, [] { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 4 << 20); });
}

[[noreturn]] void refuse_moment(const std::string& found, const std::string& expected,
                                const std::string& hint) {
  fail(ErrorKind::invalid_input,
       {.code = "Q_MOMENT", .found = found, .expected = expected, .hint = hint},
       "the second moment of a site's rows is {}: expected {}", found, expected);
}

void check_finite_moment(MatrixView<const double> moment) {
  for (std::size_t r = 0; r < moment.rows(); ++r)
    for (std::size_t c = 0; c < moment.cols(); ++c)
      if (!std::isfinite(moment(r, c)))
        refuse_moment(fmt::format("{} in [{}, {}]", moment(r, c), r, c), "finite sums",
                      "the activations of the model are too large; leave this site float");
}

std::vector<std::uint32_t> order_of(std::span<const double> diagonal, SweepOrder order) {
  std::vector<std::uint32_t> channels(diagonal.size());
  std::iota(channels.begin(), channels.end(), 0U);
  if (order == SweepOrder::largest_first)
    std::stable_sort(channels.begin(), channels.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return diagonal[a] > diagonal[b]; });
  return channels;
}

/// Mean over the channels that were seen.
double mean_diagonal(std::span<const double> diagonal) {
  double sum = 0;
  std::size_t live = 0;
  for (const double value : diagonal) {
    sum += value;
    live += value > 0 ? 1 : 0;
  }
  return live == 0 ? 0 : sum / static_cast<double>(live);
}

/// The inverse of the lower Cholesky factor of `square`, whose upper half is not read.
Square inverse_factor(Square square) {
  const Eigen::LLT<Eigen::Ref<Square>> factor(square);  // in place
  bool fine = factor.info() == Eigen::Success;
  for (Eigen::Index i = 0; fine && i < square.rows(); ++i)
    fine = std::isfinite(square(i, i)) && square(i, i) > 0;
  if (!fine)
    refuse_moment("not positive definite", "a positive definite matrix",
                  "raise the damping, or calibrate with more text");
  Square inverse = Square::Identity(square.rows(), square.cols());
  square.triangularView<Eigen::Lower>().solveInPlace(inverse);
  return inverse;
}

/// moved[i] = values[i] - sum over rising j of errors[j][i] * factors[j].
void move(const double* factors, const double* errors, std::size_t count, double* values) {
  std::array<double, kSweepOutputs> sums{};
  for (std::size_t i = 0; i < kSweepOutputs; ++i) sums[i] = values[i];
  for (std::size_t j = 0; j < count; ++j)
    for (std::size_t i = 0; i < kSweepOutputs; ++i)
      sums[i] -= errors[j * kSweepOutputs + i] * factors[j];
  for (std::size_t i = 0; i < kSweepOutputs; ++i) values[i] = sums[i];
}

/// The sweep over kSweepOutputs outputs at a time, whose weights stand side by side.
class Sweep {
 public:
  Sweep(const Compensation& compensation, std::size_t block, EnterBlock enter, RoundColumn round)
      : compensation_(compensation),
        block_(block),
        enter_(enter),
        round_(round),
        values_(compensation.in() * kSweepOutputs),
        errors_(block * kSweepOutputs) {}

  void run(MatrixView<const float> w, std::size_t first, std::span<double> costs) {
    const std::size_t in = compensation_.in();
    columns_ = {first, costs.size()};
    for (std::size_t k = 0; k < in; ++k)
      for (std::size_t i = 0; i < kSweepOutputs; ++i)
        values_[k * kSweepOutputs + i] =
            i < costs.size() ? static_cast<double>(w(first + i, compensation_.order()[k])) : 0.0;
    std::fill(costs.begin(), costs.end(), 0.0);
    for (std::size_t begin = 0; begin < in; begin += block_) {
      const std::size_t end = std::min(begin + block_, in);
      enter_(columns_, begin, end, at(begin));
      for (std::size_t k = begin; k < end; ++k) step(begin, k, costs);
      for (std::size_t k = end; k < in; ++k)
        move(compensation_.column(k).data() + begin, errors_.data(), end - begin, at(k));
    }
  }

 private:
  double* at(std::size_t k) { return values_.data() + k * kSweepOutputs; }

  void step(std::size_t begin, std::size_t k, std::span<double> costs) {
    const auto factors = compensation_.column(k);
    move(factors.data() + begin, errors_.data(), k - begin, at(k));
    std::array<double, kSweepOutputs> rounded{};
    round_(columns_, compensation_.order()[k], at(k), rounded.data());
    double* errors = errors_.data() + (k - begin) * kSweepOutputs;
    for (std::size_t i = 0; i < kSweepOutputs; ++i)
      errors[i] = (at(k)[i] - rounded[i]) / factors[k];
    for (std::size_t i = 0; i < costs.size(); ++i) costs[i] += errors[i] * errors[i];
  }

  const Compensation& compensation_;
  const std::size_t block_;
  EnterBlock enter_;
  RoundColumn round_;
  SweepColumns columns_;
  std::vector<double> values_;  ///< [in, kSweepOutputs], in the order of the sweep
  std::vector<double> errors_;  ///< [block, kSweepOutputs], e_j of the steps of a block
};

}  // namespace

Compensation::Compensation(MatrixView<const double> moment, const CompensationOptions& options) {
  require(moment.rows() == moment.cols() && moment.rows() > 0, "H is [in, in]");
  require(options.damping > 0, "the damping is above 0");
  check_finite_moment(moment);
  fix_blocking();
  const std::size_t in = moment.rows();
  for (std::size_t k = 0; k < in; ++k) diagonal_.push_back(moment(k, k));
  order_ = order_of(diagonal_, options.order);
  const double mean = mean_diagonal(diagonal_);
  added_ = mean > 0 ? options.damping * mean : 1.0;  // nothing was seen: any number will do

  // With J the reversal and J H J = L Lᵀ, U = J L⁻¹ J is upper triangular and Uᵀ U = H⁻¹: one
  // factorization, where the inverse and a second one are the textbook's.
  const auto index = [](std::size_t i) { return static_cast<Eigen::Index>(i); };
  Square reversed(in, in);
  for (std::size_t c = 0; c < in; ++c) {
    const std::size_t channel = order_[in - 1 - c];
    for (std::size_t r = c; r < in; ++r)
      reversed(index(r), index(c)) = moment(order_[in - 1 - r], channel);
    reversed(index(c), index(c)) += added_;
  }
  const Square inverse = inverse_factor(std::move(reversed));
  columns_ = MatrixOf<double>(in, in);
  std::fill(columns_.span().begin(), columns_.span().end(), 0.0);
  for (std::size_t k = 0; k < in; ++k)
    for (std::size_t j = 0; j <= k; ++j)
      columns_(k, j) = inverse(index(in - 1 - j), index(in - 1 - k));
}

std::vector<double> sweep_columns(const Compensation& compensation, MatrixView<const float> w,
                                  std::size_t block, EnterBlock enter, RoundColumn round,
                                  ThreadPool& pool) {
  require(w.cols() == compensation.in(), "w is [out, in]");
  require(block > 0, "a block has steps");
  std::vector<double> costs(w.rows());
  pool.for_each_part(w.rows(), kSweepOutputs, [&](std::size_t begin, std::size_t end) {
    Sweep sweep(compensation, std::min(block, compensation.in()), enter, round);
    for (std::size_t first = begin; first < end; first += kSweepOutputs)
      sweep.run(w, first, std::span(costs).subspan(first, std::min(kSweepOutputs, end - first)));
  });
  return costs;
}

}  // namespace tender::quant
