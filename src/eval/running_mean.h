#pragma once

#include <cmath>
#include <cstddef>
#include <optional>

namespace tender::eval {

/// A value and its standard error, which is nothing where a single number entered.
struct Estimate {
  double value = 0;
  std::optional<double> error;

  /// The same in another unit.
  Estimate times(double factor) const {
    return {value * factor, error ? std::optional(*error * std::abs(factor)) : std::nullopt};
  }
};

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

/// Mean over scored tokens with the uncertainty that a protocol states: that of the tokens, or that
/// of the means of windows.
class ScoredMean {
 public:
  explicit ScoredMean(bool means_of_windows) : means_of_windows_(means_of_windows) {}

  void add(double value) {
    window_.add(value);
    if (!means_of_windows_) all_.add(value);
  }
  /// @return the mean of the window that ends
  double end_window() {
    const double mean = window_.mean();
    if (means_of_windows_) all_.add(mean);
    window_ = {};
    return mean;
  }
  /// Of the windows that ended.
  Estimate estimate() const { return {all_.mean(), all_.standard_error()}; }

 private:
  bool means_of_windows_;
  RunningMean window_;
  RunningMean all_;
};

}  // namespace tender::eval
