#include "quant/formats/number_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/contracts.h"

namespace tender::quant {
namespace {

float power(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23U);
}

std::vector<float> integers(int bits) {
  std::vector<float> levels;
  for (int i = 0; i < 1 << (bits - 1); ++i) levels.push_back(static_cast<float>(i));
  return levels;
}

std::vector<float> powers_of_two(int bits) {
  require(bits == 4, "powers of two have 4 bits");
  std::vector<float> levels = {0};
  for (int i = 0; i < (1 << (bits - 1)) - 1; ++i) levels.push_back(power(i));
  return levels;
}

std::vector<float> flints(int bits) {
  const int magnitude = bits - 1;
  std::vector<float> levels;
  for (int i = 0; i < 1 << (magnitude - 1); ++i) levels.push_back(static_cast<float>(i));
  int exponent = magnitude - 1;
  for (int fraction = magnitude - 2; fraction >= 0; --fraction, ++exponent)
    for (int f = 0; f < 1 << fraction; ++f)
      levels.push_back(power(exponent) + static_cast<float>(f) * power(exponent - fraction));
  levels.push_back(power(exponent));
  return levels;
}

/// Adaptive biased floats; the one of index 0 has no code.
std::vector<float> abfloats(int bits) {
  constexpr float kMost = 32768;  // products of more would leave 32-bit accumulators
  const int fraction = bits == 4 ? 1 : 3;
  const int bias = bits == 4 ? 2 : 4;
  std::vector<float> levels = {0};
  for (int i = 1; i < 1 << (bits - 1); ++i) {
    const int whole = (1 << fraction) + i % (1 << fraction);
    const float value = static_cast<float>(whole) * power((i >> fraction) + bias);
    if (value <= kMost) levels.push_back(value);
  }
  return levels;
}

std::vector<float> levels_of(NumberFormat::Kind kind, int bits) {
  switch (kind) {
    case NumberFormat::Kind::power_of_two:
      return powers_of_two(bits);
    case NumberFormat::Kind::flint:
      return flints(bits);
    default:
      return integers(bits);
  }
}

std::vector<float> borders_of(std::span<const float> levels) {
  std::vector<float> borders;
  for (std::size_t i = 1; i < levels.size(); ++i)
    borders.push_back((levels[i - 1] + levels[i]) / 2);  // exact: few bits
  return borders;
}

/// Index of the nearest level, the lower of two that are as near: how many borders lie below.
int nearest(std::span<const float> borders, float magnitude) {
  constexpr std::size_t kFew = 8;
  if (borders.size() > kFew)
    return static_cast<int>(std::ranges::lower_bound(borders, magnitude) - borders.begin());
  int index = 0;
  for (const float border : borders) index += border < magnitude ? 1 : 0;
  return index;
}

/// Index of the nearest outlier.
int nearest_outlier(std::span<const float> outliers, float magnitude) {
  std::size_t index = 1;
  while (index + 1 < outliers.size() && (outliers[index] + outliers[index + 1]) / 2 < magnitude)
    ++index;
  return static_cast<int>(index);
}

std::int8_t signed_code(int index, float value) {
  return static_cast<std::int8_t>(value < 0 ? -index : index);
}

float value_of(std::span<const float> levels, std::int8_t code) {
  const auto index = std::min(static_cast<std::size_t>(std::abs(int{code})), levels.size() - 1);
  return code < 0 ? -levels[index] : levels[index];
}

}  // namespace

NumberFormat::NumberFormat(Kind kind, int bits)
    : kind_(kind), levels_(levels_of(kind, bits)), borders_(borders_of(levels_)) {
  require(bits == 4 || bits == 8, "numbers have 4 or 8 bits");
  if (kind != Kind::pairs) return;
  outliers_ = abfloats(bits);
  victim_ = static_cast<std::int8_t>(-(1 << (bits - 1)));
}

void NumberFormat::encode(std::span<const float> u, std::span<std::int8_t> codes) const {
  for (std::size_t k = 0; k < u.size(); ++k)
    codes[k] = signed_code(nearest(borders_, std::abs(u[k])), u[k]);
  if (outliers_.empty()) return;
  const float border = (top() + outliers_[1]) / 2;
  for (std::size_t k = 0; k + 1 < u.size(); k += 2) {
    const std::size_t larger = std::abs(u[k]) < std::abs(u[k + 1]) ? k + 1 : k;
    if (std::abs(u[larger]) <= border) continue;
    codes[larger] = signed_code(nearest_outlier(outliers_, std::abs(u[larger])), u[larger]);
    codes[larger == k ? k + 1 : k] = victim_;
  }
}

void NumberFormat::decode(std::span<const std::int8_t> codes, std::span<float> values) const {
  for (std::size_t k = 0; k < codes.size(); ++k) {
    const std::size_t other = k ^ 1U;
    const bool in_pair = !outliers_.empty() && other < codes.size();
    if (in_pair && codes[k] == victim_)
      values[k] = 0;
    else
      values[k] = value_of(in_pair && codes[other] == victim_ ? outliers_ : levels_, codes[k]);
  }
}

std::string_view to_string(NumberFormat::Kind kind) {
  constexpr std::array<std::string_view, 4> kNames = {"integer", "power of two", "flint", "pairs"};
  return kNames[static_cast<std::size_t>(kind)];
}

void round_to_format(const NumberFormat& format, std::span<const float> x, float step,
                     std::span<std::int8_t> codes, std::span<float> out) {
  const float per_step = 1 / step;
  for (std::size_t k = 0; k < x.size(); ++k) out[k] = x[k] * per_step;
  format.encode(out, codes);
  format.decode(codes, out);
  for (float& value : out) value *= step;
}

StepFit fit_step(const NumberFormat& format, MatrixView<const float> rows, float largest,
                 int halvings) {
  constexpr float kTiny = 0x1p-80F;  // 1 / step stays a normal number
  constexpr std::array<float, 8> kEighths = {0x1p+0F,        0x1.d5818ep-1F, 0x1.ae89fap-1F,
                                             0x1.8ace54p-1F, 0x1.6a09e6p-1F, 0x1.4bfdaep-1F,
                                             0x1.306fe0p-1F, 0x1.172b84p-1F};  // 2^(-j/8)
  if (largest < kTiny) return {};
  StepFit best{0, std::numeric_limits<double>::infinity()};
  std::vector<std::int8_t> codes(rows.cols());
  std::vector<float> rounded(rows.cols());
  for (int j = 0; j <= 8 * halvings; ++j) {
    const float step =
        largest / format.top() * kEighths[static_cast<std::size_t>(j % 8)] * power(-(j / 8));
    double error = 0;
    for (std::size_t m = 0; m < rows.rows(); ++m) {
      round_to_format(format, rows.row(m), step, codes, rounded);
      for (std::size_t k = 0; k < rounded.size(); ++k) {
        const double off = static_cast<double>(rounded[k]) - static_cast<double>(rows(m, k));
        error += off * off;
      }
    }
    if (error < best.error) best = {step, error};
  }
  return best;
}

}  // namespace tender::quant
