#include "kernels/rope/rope.h"

#include "base/contracts.h"
#include "kernels/math.h"

namespace tender::kernels {
namespace {

constexpr double kPi = 0x1.921fb54442d18p+1;

/// Llama 3: wavelengths up to original_context / high_frequency_factor keep their frequency, those
/// above original_context / low_frequency_factor are stretched, the rest blends by where it lies
/// between.
double stretch_llama3(double frequency, const RopeParameters& p) {
  const double wavelength = 2 * kPi / frequency;
  if (wavelength < p.original_context / p.high_frequency_factor) return frequency;
  if (wavelength > p.original_context / p.low_frequency_factor) return frequency / p.factor;
  const double blend = (p.original_context / wavelength - p.low_frequency_factor) /
                       (p.high_frequency_factor - p.low_frequency_factor);
  return (1 - blend) * frequency / p.factor + blend * frequency;
}

double stretch(double frequency, const RopeParameters& p) {
  switch (p.scaling) {
    case RopeScaling::linear:
      return frequency / p.factor;
    case RopeScaling::llama3:
      return stretch_llama3(frequency, p);
    case RopeScaling::none:
      break;
  }
  return frequency;
}

}  // namespace

Rope::Rope(const RopeParameters& parameters) {
  const std::size_t half = parameters.rotary_width / 2;
  const auto& factors = parameters.frequency_factors;
  require(parameters.rotary_width == 2 * half, "rotary dimensions come in pairs");
  require(factors.empty() || factors.size() == half, "one frequency factor per pair");
  frequencies_.resize(half);
  for (std::size_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(i) / static_cast<double>(half);
    const auto plain = static_cast<float>(fixed_pow(parameters.theta, -exponent));
    double frequency = stretch(static_cast<double>(plain), parameters);
    if (!factors.empty()) frequency /= static_cast<double>(factors[i]);
    frequencies_[i] = static_cast<float>(frequency);
  }
}

void Rope::turn(std::span<const std::int32_t> positions, RopeAngles& angles) const {
  angles.cosines.resize(positions.size(), frequencies_.size());
  angles.sines.resize(positions.size(), frequencies_.size());
  for (std::size_t t = 0; t < positions.size(); ++t)
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const float angle = static_cast<float>(positions[t]) * frequencies_[i];
      angles.cosines(t, i) = static_cast<float>(fixed_cos(static_cast<double>(angle)));
      angles.sines(t, i) = static_cast<float>(fixed_sin(static_cast<double>(angle)));
    }
}

void apply_rope(const RopeAngles& angles, std::size_t head_width, MatrixView<float> x) {
  const std::size_t half = angles.cosines.cols();
  require(angles.cosines.rows() == x.rows(), "one row of angles per token");
  require(2 * half <= head_width && x.cols() % head_width == 0,
          "x is [tokens, heads * head_width]");
  for (std::size_t t = 0; t < x.rows(); ++t) {
    const float* cosine = angles.cosines.row(t).data();
    const float* sine = angles.sines.row(t).data();
    float* row = x.row(t).data();
    for (float* head = row; head != row + x.cols(); head += head_width)
      for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
      }
  }
}

}  // namespace tender::kernels
