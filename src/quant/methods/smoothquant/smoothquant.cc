#include "quant/methods/smoothquant/smoothquant.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr int kAlphaStep = 5;  // percent, as the paper's grid of 0.05
constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;

int highest_code(int bits) { return (1 << (bits - 1)) - 1; }

/// x * W^T of every layer, by the float kernel: any kernel gives the same bits.
std::vector<Matrix> products(MatrixView<const float> x,
                             std::span<const MatrixView<const float>> weights) {
  ThreadPool alone(1);
  std::vector<Matrix> y;
  for (const MatrixView<const float> w : weights) {
    kernels::PanelsF32 panels(LinearShape{w.rows(), w.cols()});
    panels.put(0, w);
    y.emplace_back(x.rows(), w.rows());
    kernels::gemm_f32(kernels::best_gemm_f32(host_isa()), x, panels, {}, y.back().view(), alone);
  }
  return y;
}

}  // namespace

void SmoothQuantCalibration::observe(const Rows& x) {
  maxima_.observe(x);
  sample_.add(x.values);
}

void SmoothQuantCalibration::merge(const SmoothQuantCalibration& other) {
  maxima_.merge(other.maxima_);
  sample_.merge(other.sample_);
}

void SmoothQuantCalibration::save(PartSink& sink) const {
  maxima_.save(sink);
  sample_.save("smoothquant_sample", sink);
}

void SmoothQuantCalibration::load(const PartSource& source) {
  maxima_.load(source);
  sample_.load("smoothquant_sample", source);
}

MethodTraits SmoothQuant::traits() const {
  return {.inputs = options_.activation_granularity == SmoothQuantSteps::token
                        ? InputRounding::by_row
                        : InputRounding::by_position,
          .wants_inputs = true,
          .wants_moment = false,
          .idempotent = false,  // factors are made of the weights as they came
          .weight_bits = static_cast<double>(options_.weight_bits),
          .activation_bits = static_cast<double>(options_.activation_bits)};
}

SmoothQuantCalibration SmoothQuant::calibrate(const SiteShape& shape) const {
  return {shape.in, options_.alpha_percent == Options::kSearched};
}

SmoothQuantInput SmoothQuant::smoothed(const ChannelReach& reach, int alpha_percent) const {
  SmoothQuantInput input;
  input.in = reach.rows.size();
  input.weight_bits = options_.weight_bits;
  input.activation_bits = options_.activation_bits;
  input.steps = options_.activation_granularity;
  input.alpha_percent = alpha_percent;
  input.factors = smoothing_factors(reach, alpha_percent,
                                    options_.factors == SmoothQuantFactors::powers_of_two);
  if (input.steps == SmoothQuantSteps::token) return input;
  float peak = 0;
  for (std::size_t k = 0; k < input.in; ++k)
    peak = std::max(peak, reach.rows[k] * (1 / input.factors[k]));
  input.step = std::max(peak / static_cast<float>(highest_code(input.activation_bits)),
                        RowRounding::kTinyPeak / 2);
  return input;
}

SmoothQuantInput SmoothQuant::input(const Calibration& seen,
                                    std::span<const MatrixView<const float>> weights) const {
  if (seen.rows() == 0)
    fail(ErrorKind::invalid_input, {.code = "Q_CALIBRATION", .hint = "give --calibration"},
         "smoothquant saw no calibration rows");
  const ChannelReach reach{{seen.largest().begin(), seen.largest().end()}, weight_reach(weights)};
  if (options_.alpha_percent != Options::kSearched) return smoothed(reach, options_.alpha_percent);
  if (seen.sample().rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION",
          .hint = "calibrate again without --alpha-percent, or give --alpha-percent"},
         "alpha is to be searched, but the calibration kept no rows");
  const Matrix rows = seen.sample().values();
  const std::vector<Matrix> exact = products(rows.view(), weights);
  SmoothQuantInput best = smoothed(reach, kNoSmoothing);
  double least = smoothquant_error(best, rows.view(), weights, exact);
  for (int alpha = 0; alpha <= 100; alpha += kAlphaStep) {
    SmoothQuantInput candidate = smoothed(reach, alpha);
    const double error = smoothquant_error(candidate, rows.view(), weights, exact);
    if (!(error < least)) continue;
    least = error;
    best = std::move(candidate);
  }
  return best;
}

double smoothquant_error(const SmoothQuantInput& input, MatrixView<const float> x,
                         std::span<const MatrixView<const float>> weights,
                         std::span<const Matrix> exact) {
  constexpr std::size_t kOutputs = 256;  // that are held at a time
  const RowRounding rounding = smoothquant_rounding(input);
  Matrix rows(x.rows(), input.in);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.rows(); ++m)
    expand_row(rounding, round_row(rounding, x.row(m), 0, codes), codes, rows.row(m));
  double error = 0;
  for (std::size_t l = 0; l < weights.size(); ++l)
    for (std::size_t first = 0; first < weights[l].rows(); first += kOutputs) {
      const auto w = weights[l].rows_from(first, std::min(kOutputs, weights[l].rows() - first));
      Matrix kept(w.rows(), input.in);
      scale_columns(w, input.factors, kept.view());
      dequantize_symmetric(
          quantize_symmetric(kept.view(), input.weight_bits, WeightGranularity::channel, 0),
          kept.view());
      const std::array<MatrixView<const float>, 1> one = {kept.view()};
      const Matrix y = std::move(products(rows.view(), one).front());
      for (std::size_t m = 0; m < y.rows(); ++m)
        for (std::size_t n = 0; n < y.cols(); ++n) {
          const double off =
              static_cast<double>(y(m, n)) - static_cast<double>(exact[l](m, first + n));
          error += off * off;
        }
    }
  return error;
}

RowRounding smoothquant_rounding(const SmoothQuantInput& input) {
  const int high = highest_code(input.activation_bits);
  RowRounding rounding{.in = input.in,
                       .low = -high - 1,
                       .high = high,
                       .by_row = input.steps == SmoothQuantSteps::token,
                       .element_groups = 0,
                       .chunk_rows = 0,
                       .chunks = {ChunkRounding{}}};
  ChunkRounding& chunk = rounding.chunks[0];
  float per_step = 1;
  if (!rounding.by_row) {
    chunk.unit = input.step;
    per_step = input.step < RowRounding::kTinyPeak ? 0 : 1 / input.step;  // all calibrated to 0
  }
  for (const float factor : input.factors) chunk.multiplier.push_back(1 / factor * per_step);
  return rounding;
}

void SmoothQuant::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  const RowRounding rounding = smoothquant_rounding(input);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    expand_row(rounding, round_row(rounding, x.values.row(m), x.positions[m], codes), codes,
               out.row(m));
    for (std::size_t k = 0; k < input.in; ++k) out(m, k) *= input.factors[k];
  }
}

SymmetricCodes SmoothQuant::quantize(MatrixView<const float> w, const Input& input,
                                     const SecondMoment*, ThreadPool&) const {
  require(w.cols() == input.in, "weights are [out, in]");
  Matrix scaled(w.rows(), w.cols());
  scale_columns(w, input.factors, scaled.view());
  return quantize_symmetric(scaled.view(), input.weight_bits, WeightGranularity::channel, 0);
}

void SmoothQuant::dequantize(const Input& input, const Packed& packed, MatrixView<float> w) {
  dequantize_symmetric(unpack(packed), w);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < input.in; ++k) w(n, k) *= 1 / input.factors[k];
}

void SmoothQuant::save_input(const Input& input, PartSink& sink) {
  const bool one_step = input.steps == SmoothQuantSteps::tensor;
  const std::array<std::int32_t, 5> meta = {input.weight_bits, input.activation_bits,
                                            one_step ? 1 : 0, input.alpha_percent,
                                            static_cast<std::int32_t>(input.in)};
  sink.put<std::int32_t>("smoothquant_meta", DType::i32, {meta.size()}, meta);
  sink.put<float>("smoothquant_factors", DType::f32, {input.in}, input.factors);
  if (one_step)
    sink.put<float>("smoothquant_step", DType::f32, {1}, std::span<const float>(&input.step, 1));
}

SmoothQuantInput SmoothQuant::load_input(const PartSource& source) {
  constexpr std::string_view kMeta = "smoothquant_meta";
  const auto meta = values_of<std::int32_t>(source.get(kMeta, DType::i32, {5}));
  check_number(source, kMeta, "weight bits", meta[0], 2, 8);
  check_number(source, kMeta, "activation bits", meta[1], 2, 8);
  check_number(source, kMeta, "one step for all rows", meta[2], 0, 1);
  check_number(source, kMeta, "alpha in percent", meta[3], kNoSmoothing, 100);
  check_number(source, kMeta, "inputs", meta[4], 1, kMaxInputs);
  SmoothQuantInput input;
  input.in = static_cast<std::size_t>(meta[4]);
  input.weight_bits = meta[0];
  input.activation_bits = meta[1];
  input.steps = meta[2] == 1 ? SmoothQuantSteps::tensor : SmoothQuantSteps::token;
  input.alpha_percent = meta[3];
  input.factors = values_of<float>(source.get("smoothquant_factors", DType::f32, {input.in}));
  const float most = std::ldexp(1.0F, kMostExponent);
  for (const float factor : input.factors)
    if (!(factor >= 1 / most && factor <= most))
      refuse_part(source, "smoothquant_factors", "QC_SCALE", fmt::format("a factor of {}", factor),
                  fmt::format("{} to {}", 1 / most, most));
  if (meta[2] == 0) return input;
  const auto step = values_of<float>(source.get("smoothquant_step", DType::f32, {1}));
  check_scales(source, "smoothquant_step", step);
  input.step = step[0];
  return input;
}

void SmoothQuant::save(const Packed& packed, PartSink& sink) {
  save_symmetric(packed.weights, kName, sink);
}

SmoothQuantPacked SmoothQuant::load(const Input& input, const PartSource& source) {
  return {load_symmetric(source, kName, input.in, input.weight_bits, WeightGranularity::channel, 0),
          {}};
}

std::size_t SmoothQuant::input_bytes(const Input& input) {
  return 5 * sizeof(std::int32_t) + input.in * sizeof(float) +
         (input.steps == SmoothQuantSteps::tensor ? sizeof(float) : 0);
}

double SmoothQuant::activation_bits(const Input& input) {
  const bool own_step = input.steps == SmoothQuantSteps::token;
  return input.activation_bits + (own_step ? 32.0 / static_cast<double>(input.in) : 0.0);
}

InputRounding SmoothQuant::rounding(const Input& input) {
  return input.steps == SmoothQuantSteps::token ? InputRounding::by_row
                                                : InputRounding::by_position;
}

std::string SmoothQuant::describe(const Input& input) {
  const std::string alpha =
      input.alpha_percent < 0 ? "not smoothed" : fmt::format("alpha {} %", input.alpha_percent);
  return fmt::format("a scale per {}, {} bits, {}",
                     kSmoothQuantSteps[static_cast<std::size_t>(input.steps)],
                     input.activation_bits, alpha);
}

void SmoothQuant::reference(const Input& input, const Packed& packed, const Rows& x,
                            MatrixView<double> y) {
  const RowRounding rounding = smoothquant_rounding(input);
  const SymmetricCodes weights = unpack(packed);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
    for (std::size_t n = 0; n < weights.shape.out; ++n) {
      const auto* w = weights.codes.data() + n * input.in;
      const auto sum = std::transform_reduce(
          codes.begin(), codes.end(), w, std::int64_t{0}, std::plus<>(),
          [](std::int16_t code, std::int8_t weight) { return std::int64_t{code} * weight; });
      y(m, n) = static_cast<double>(sum) * static_cast<double>(weights.scales[n]) *
                static_cast<double>(row.step);
    }
  }
}

void SmoothQuant::prepare(Input& input, Isa isa) {
  input.rows = IntegerRows(smoothquant_rounding(input), isa, {.bits = input.weight_bits});
}

void SmoothQuant::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricBytes& weights = packed.weights;
  packed.integers = IntegerLinear(input.rows, {weights.shape, weights.codes(), weights.scales, {}});
  packed.weights.bytes = {};
}

IntegerCodes SmoothQuant::round(const Input& input, const Rows& x, ThreadPool& pool) {
  return input.rows.round(x, pool);
}

SiteCounts SmoothQuant::counts(const Input& input, const Rows& x, const Rounded& rounded) {
  if (input.steps != SmoothQuantSteps::tensor) return {};
  return {x.values.rows(), x.values.rows() * input.in, rounded.clipped, 0};
}

void SmoothQuant::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                         MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  packed.integers.matmul(input.rows, rounded, y, epilogue, pool);
}

std::string SmoothQuant::kernel(const Input& input, const Packed& packed) {
  return packed.integers.kernel(input.rows);
}

}  // namespace tender::quant
