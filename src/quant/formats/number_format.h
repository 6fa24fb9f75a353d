#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/matrix.h"

namespace tender::quant {

/// Numbers of few bits that are not evenly spaced: a sign and an index into magnitudes. A code is
/// the signed index, so that any format is stored like integers (formats/symmetric.h).
///
///     integer        0, 1, 2, … 2^(b-1) - 1
///     power_of_two   0, 1, 2, 4, … 2^(2^(b-1) - 2)                                (ANT, 4 bits)
///     flint          0 … 2^(m-1) - 1 by ones, m = b - 1, then for every e from m - 1 on
///                    2^e (1 + f / 2^i), f < 2^i, where i falls from m - 2 to 0, and 2^(2m-2) last:
///                    4 bits 0, 1, 2, 3, 4, 6, 8, 16; 8 bits up to 4096                     (ANT)
///     pairs          integers, or an outlier and its victim: code i of the outlier is abfloat
///                    (2 + i mod 2) 2^(i/2 + 2) at 4 bits: 12, 16, 24, 32, 48, 64, 96;
///                    (8 + i mod 8) 2^(i/8 + 4) at 8 bits: 144 … 32768; the other number of the
///                    pair (2k, 2k + 1) is 0 and has the lowest code, -2^(b-1)            (OliVe)
class NumberFormat {
 public:
  enum class Kind : std::uint8_t { integer, power_of_two, flint, pairs };
  /// @param bits  4 or 8; power_of_two has 4 only
  NumberFormat(Kind kind, int bits);

  Kind kind() const { return kind_; }
  /// The largest magnitude that is no outlier.
  float top() const { return levels_.back(); }
  /// The nearest numbers; ties go to the smaller magnitude, what is beyond the largest to it. Of a
  /// pair with an outlier the larger is kept; a number is one where it is nearer to the least of
  /// them than to top(). @param u  finite
  void encode(std::span<const float> u, std::span<std::int8_t> codes) const;
  /// Any code is a number: indices beyond the last are the last.
  void decode(std::span<const std::int8_t> codes, std::span<float> values) const;

 private:
  Kind kind_;
  std::vector<float> levels_;    ///< by index, rising from 0
  std::vector<float> borders_;   ///< halfway from each level to the next
  std::vector<float> outliers_;  ///< as levels_, index 0 unused; empty where there are none
  std::int8_t victim_ = 0;
};

std::string_view to_string(NumberFormat::Kind kind);

/// A step and what it costs.
struct StepFit {
  float step = 1;
  double error = 0;  ///< sum of squared differences
};

/// The step of the least squared error among largest / top / 2^(j/8), j = 0 … 8 halvings; the
/// largest such step where several cost the same.
/// @param rows  values that share the step, each row encoded on its own
StepFit fit_step(const NumberFormat& format, MatrixView<const float> rows, float largest,
                 int halvings);

/// code(x / step) * step, step of all values. @param out  may be x itself
void round_to_format(const NumberFormat& format, std::span<const float> x, float step,
                     std::span<std::int8_t> codes, std::span<float> out);

}  // namespace tender::quant
