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

void turn_heads(std::span<const float> cosines, std::span<const float> sines,
                std::size_t head_width, std::span<float> row) {
  const std::size_t half = cosines.size();
  const float* cosine = cosines.data();
  const float* sine = sines.data();
  for (float* head = row.data(); head != row.data() + row.size(); head += head_width)
    for (std::size_t i = 0; i < half; ++i) {
      const float a = head[i], b = head[i + half];
      head[i] = a * cosine[i] - b * sine[i];
      head[i + half] = b * cosine[i] + a * sine[i];
    }
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

void Rope::turn(std::span<const std::int32_t> positions, RopeAngles& angles,
                ThreadPool& pool) const {
  angles.cosines.resize(positions.size(), frequencies_.size());
  angles.sines.resize(positions.size(), frequencies_.size());
  pool.for_each_part(positions.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t)
      for (std::size_t i = 0; i < frequencies_.size(); ++i) {
        const float angle = static_cast<float>(positions[t]) * frequencies_[i];
        angles.cosines(t, i) = static_cast<float>(fixed_cos(static_cast<double>(angle)));
        angles.sines(t, i) = static_cast<float>(fixed_sin(static_cast<double>(angle)));
      }
  });
}

void apply_rope(const RopeAngles& angles, std::size_t head_width, MatrixView<float> q,
                MatrixView<float> k, ThreadPool& pool) {
  for (const MatrixView<float>& x : {q, k}) {
    require(angles.cosines.rows() == x.rows(), "one row of angles per token");
    require(2 * angles.cosines.cols() <= head_width && x.cols() % head_width == 0,
            "q and k are [tokens, heads * head_width]");
  }
  pool.for_each_part(q.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t)
      for (const MatrixView<float>& x : {q, k})
        turn_heads(angles.cosines.row(t), angles.sines.row(t), head_width, x.row(t));
  });
}

}  // namespace tender::kernels
