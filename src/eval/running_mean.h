#pragma once

#include <cmath>
#include <cstddef>
#include <optional>

namespace tender::eval {

/// Mean and its standard error of numbers that come one by one (Welford 1962): no cancellation as
/// in mean(v²) - mean(v)², the same value in exact arithmetic.
class RunningMean {
 public:
  void add(double value) {
    ++count_;
    const double before = value - mean_;
    mean_ += before / static_cast<double>(count_);
    squares_ += before * (value - mean_);
  }
  std::size_t count() const { return count_; }
  double mean() const { return mean_; }
  /// sqrt(sum of squared deviations / (n (n - 1))), which is sqrt((mean v² - mean²) / (n - 1)).
  std::optional<double> standard_error() const {
    if (count_ < 2) return std::nullopt;
    const auto n = static_cast<double>(count_);
    return std::sqrt(squares_ / (n * (n - 1)));
  }

 private:
  std::size_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace tender::eval
