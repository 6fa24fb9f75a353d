#include "kernels/math.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/lanes/exp_constants.h"

namespace tender::kernels {
namespace {

constexpr double kRounder = 0x1.8p52;  // as kExpRounder, for double
constexpr double kLog2E = 0x1.71547652b82fep+0;
constexpr double kLn2High = 0x1.62e42fefa39efp-1;
constexpr double kLn2Low = 0x1.abc9e3b39803fp-56;
// pi / 2 in three parts
constexpr double kHalfPi1 = 0x1.921fb54442d18p+0;
constexpr double kHalfPi2 = 0x1.1a62633145c07p-54;
constexpr double kHalfPi3 = -0x1.f1976b7ed8fbcp-110;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

/// Horner's rule with one fma per coefficient; the highest comes first.
template <std::size_t N>
double polynomial(const std::array<double, N>& coefficients, double x) {
  double sum = coefficients[0];
  for (std::size_t i = 1; i < N; ++i) sum = std::fma(sum, x, coefficients[i]);
  return sum;
}

constexpr double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52U);
}

/// x = quarter * pi/2 + rest, |rest| <= pi/4.
struct Reduced {
  int quarter;
  double rest;
};

Reduced reduce(double x) {
  const double shifted = std::fma(x, kTwoOverPi, kRounder);
  const double n = shifted - kRounder;
  // n * kHalfPi1 cancels exactly against x, the other parts round once each.
  double rest = std::fma(-n, kHalfPi1, x);
  rest = std::fma(-n, kHalfPi2, rest);
  rest = std::fma(-n, kHalfPi3, rest);
  return {static_cast<int>(std::bit_cast<std::uint64_t>(shifted) & 3U), rest};
}

/// Taylor: the first omitted term, r^19 / 19!, is below 2^-63 for |r| <= pi/4.
double sin_near_zero(double r) {
  constexpr std::array kTerms = {1 / factorial(17),  -1 / factorial(15), 1 / factorial(13),
                                 -1 / factorial(11), 1 / factorial(9),   -1 / factorial(7),
                                 1 / factorial(5),   -1 / factorial(3)};
  const double square = r * r;
  return std::fma(r * square, polynomial(kTerms, square), r);
}

/// Taylor: the first omitted term, r^18 / 18!, is below 2^-58.
double cos_near_zero(double r) {
  constexpr std::array kTerms = {1 / factorial(16),  -1 / factorial(14), 1 / factorial(12),
                                 -1 / factorial(10), 1 / factorial(8),   -1 / factorial(6),
                                 1 / factorial(4)};
  const double square = r * r;
  const double head = std::fma(-0.5, square, 1.0);
  const double lost = std::fma(-0.5, square, 1.0 - head);  // what rounding took from the head
  return head + std::fma(square * square, polynomial(kTerms, square), lost);
}

bool too_far(double x) { return !(std::fabs(x) <= 0x1p30); }

}  // namespace

float exp_f32(float x) {
  x = kExpLowest > x ? kExpLowest : x;
  x = kExpHighest < x ? kExpHighest : x;
  const float shifted = std::fma(x, kExpLog2E, kExpRounder);
  const float n = shifted - kExpRounder;
  const float r = std::fma(-n, kExpLn2Low, std::fma(-n, kExpLn2High, x));
  float p = std::fma(kExpC6, r, kExpC5);
  p = std::fma(p, r, kExpC4);
  p = std::fma(p, r, kExpC3);
  p = std::fma(p, r, kExpC2);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  // Two factors, as 2^n may lie outside the normal floats: only the last product can round.
  const auto exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) -
                                                  std::bit_cast<std::uint32_t>(kExpRounder));
  const std::int32_t half = exponent >> 1;
  const auto power = [](std::int32_t e) {
    return std::bit_cast<float>((static_cast<std::uint32_t>(e) + 127U) << 23U);
  };
  return p * power(half) * power(exponent - half);
}

double fixed_exp(double x) {
  if (x != x) return x;
  if (x > 710) return std::numeric_limits<double>::infinity();
  if (x < -746) return 0;
  const double n = std::fma(x, kLog2E, kRounder) - kRounder;
  const double high = std::fma(-n, kLn2High, x);
  const double r = std::fma(-n, kLn2Low, high);
  // Taylor: the first omitted term, r^14 / 14!, is below 2^-57 for |r| <= ln(2) / 2.
  constexpr std::array kTerms = {1 / factorial(13), 1 / factorial(12), 1 / factorial(11),
                                 1 / factorial(10), 1 / factorial(9),  1 / factorial(8),
                                 1 / factorial(7),  1 / factorial(6),  1 / factorial(5),
                                 1 / factorial(4),  1 / factorial(3),  1 / factorial(2)};
  const double p = 1 + std::fma(r * r, polynomial(kTerms, r), r);
  const int exponent = static_cast<int>(n), half = exponent / 2;
  return p * power_of_two(half) * power_of_two(exponent - half);
}

double fixed_log(double x) {
  if (x != x || x == std::numeric_limits<double>::infinity()) return x;
  if (x == 0) return -std::numeric_limits<double>::infinity();
  if (x < 0) return std::numeric_limits<double>::quiet_NaN();
  int exponent = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    exponent = -54;
  }
  // x = 2^exponent * m, m in [sqrt(1/2), sqrt(2)): so many bits above the pattern of sqrt(1/2).
  constexpr std::uint64_t kRootHalf = 0x3fe6a09e667f3bcdU;
  const auto above = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(x) - kRootHalf) >> 52;
  exponent += static_cast<int>(above);
  const double m = std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) -
                                         (static_cast<std::uint64_t>(above) << 52U));
  // With s = f / (2 + f): log(1 + f) = f - f^2/2 + s (f^2/2 + R), R = 2 (s^2/3 + s^4/5 + ...); the
  // first omitted term of R, 2 s^24 / 25, is below 2^-64 for |s| <= 0.1716.
  const double f = m - 1, s = f / (2 + f), square = s * s, half = 0.5 * f * f;
  constexpr std::array kTerms = {2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                                 2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
  const double rest = square * polynomial(kTerms, square);
  const double e = exponent;
  const double small = half - std::fma(s, half + rest, e * kLn2Low);
  return std::fma(e, kLn2High, f - small);
}

double fixed_sin(double x) {
  if (too_far(x)) return std::numeric_limits<double>::quiet_NaN();
  const Reduced reduced = reduce(x);
  const double value =
      (reduced.quarter & 1) != 0 ? cos_near_zero(reduced.rest) : sin_near_zero(reduced.rest);
  return (reduced.quarter & 2) != 0 ? -value : value;
}

double fixed_cos(double x) {
  if (too_far(x)) return std::numeric_limits<double>::quiet_NaN();
  const Reduced reduced = reduce(x);
  const double value =
      (reduced.quarter & 1) != 0 ? sin_near_zero(reduced.rest) : cos_near_zero(reduced.rest);
  return ((reduced.quarter + 1) & 2) != 0 ? -value : value;
}

double fixed_pow(double x, double y) { return fixed_exp(y * fixed_log(x)); }

}  // namespace tender::kernels
