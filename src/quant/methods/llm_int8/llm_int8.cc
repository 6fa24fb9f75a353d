#include "quant/methods/llm_int8/llm_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;
constexpr float kLargestHalf = 65504.0F;

/// To float16 and back. What is beyond its range becomes the largest; NaN stays NaN.
float through_half(float value) {
  if (std::isnan(value)) return value;
  return half_to_float(float_to_half(std::clamp(value, -kLargestHalf, kLargestHalf)));
}

/// Outlier channels are multiplied by 0, so that they enter neither peak nor codes; what is not
/// finite in them still spoils the row, since it times 0 is NaN.
RowRounding rounding_of(const LlmInt8Input& input) {
  const int high = (1 << (input.activation_bits - 1)) - 1;
  RowRounding rounding{.in = input.in,
                       .low = -high - 1,
                       .high = high,
                       .by_row = true,
                       .element_groups = 0,
                       .chunk_rows = 0,
                       .chunks = {ChunkRounding{}}};
  if (input.outliers.empty()) return rounding;
  auto& multiplier = rounding.chunks[0].multiplier;
  multiplier.assign(input.in, 1.0F);
  for (const std::int32_t k : input.outliers) multiplier[static_cast<std::size_t>(k)] = 0;
  return rounding;
}

/// The channels that are no outliers, rising.
std::vector<std::size_t> regular_channels(const LlmInt8Input& input) {
  std::vector<std::size_t> channels;
  for (std::size_t k = 0; k < input.in; ++k)
    if (!std::ranges::binary_search(input.outliers, static_cast<std::int32_t>(k)))
      channels.push_back(k);
  return channels;
}

/// Outlier values of a row as the product reads them.
void take_outliers(const LlmInt8Input& input, std::span<const float> x, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = through_half(x[static_cast<std::size_t>(input.outliers[i])]);
}

/// Regular codes spread over all channels, 0 in outlier channels.
std::vector<std::int8_t> spread_codes(const LlmInt8Input& input, const SymmetricCodes& codes) {
  const std::vector<std::size_t> channels = regular_channels(input);
  std::vector<std::int8_t> all(codes.shape.out * input.in, 0);
  for (std::size_t n = 0; n < codes.shape.out; ++n)
    for (std::size_t i = 0; i < channels.size(); ++i)
      all[n * input.in + channels[i]] = codes.codes[n * channels.size() + i];
  return all;
}

}  // namespace

MethodTraits LlmInt8::traits() const {
  return {.inputs = InputRounding::by_row,
          .wants_inputs = true,
          .wants_moment = false,
          .idempotent = true,
          .weight_bits = static_cast<double>(options_.weight_bits),
          .activation_bits = static_cast<double>(options_.activation_bits)};
}

LlmInt8Input LlmInt8::input(const Calibration& seen,
                            std::span<const MatrixView<const float>>) const {
  if (seen.rows() == 0)
    fail(ErrorKind::invalid_input, {.code = "Q_CALIBRATION", .hint = "give --calibration"},
         "llm_int8 saw no calibration rows");
  LlmInt8Input input;
  input.in = seen.largest().size();
  input.weight_bits = options_.weight_bits;
  input.activation_bits = options_.activation_bits;
  // The channel of the least reach is never an outlier: a site keeps an integer part.
  const auto least =
      static_cast<std::size_t>(std::ranges::min_element(seen.largest()) - seen.largest().begin());
  for (std::size_t k = 0; k < input.in; ++k)
    if (k != least && seen.largest()[k] >= static_cast<float>(options_.threshold))
      input.outliers.push_back(static_cast<std::int32_t>(k));
  return input;
}

void LlmInt8::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  const RowRounding rounding = rounding_of(input);
  std::vector<std::int16_t> codes(input.in);
  std::vector<float> outliers(input.outliers.size());
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    expand_row(rounding, round_row(rounding, x.values.row(m), x.positions[m], codes), codes,
               out.row(m));
    take_outliers(input, x.values.row(m), outliers);
    for (std::size_t i = 0; i < outliers.size(); ++i)
      out(m, static_cast<std::size_t>(input.outliers[i])) = outliers[i];
  }
}

LlmInt8Codes LlmInt8::quantize(MatrixView<const float> w, const Input& input, const SecondMoment*,
                               ThreadPool&) const {
  require(w.cols() == input.in, "weights are [out, in]");
  const std::vector<std::size_t> channels = regular_channels(input);
  Matrix regular(w.rows(), channels.size());
  LlmInt8Codes codes;
  for (std::size_t n = 0; n < w.rows(); ++n) {
    for (std::size_t i = 0; i < channels.size(); ++i) regular(n, i) = w(n, channels[i]);
    for (const std::int32_t k : input.outliers)
      codes.outlier.push_back(float_to_half(
          std::clamp(w(n, static_cast<std::size_t>(k)), -kLargestHalf, kLargestHalf)));
  }
  codes.regular =
      quantize_symmetric(regular.view(), input.weight_bits, WeightGranularity::channel, 0);
  return codes;
}

LlmInt8Packed LlmInt8::pack(const Codes& codes) {
  return {pack_symmetric(codes.regular), codes.outlier, {}, {}};
}

LlmInt8Codes LlmInt8::unpack(const Packed& packed) {
  return {unpack_symmetric(packed.regular), packed.outlier};
}

void LlmInt8::dequantize(const Input& input, const Packed& packed, MatrixView<float> w) {
  const SymmetricCodes regular = unpack_symmetric(packed.regular);
  const std::vector<std::int8_t> codes = spread_codes(input, regular);
  const std::size_t outliers = input.outliers.size();
  for (std::size_t n = 0; n < w.rows(); ++n) {
    for (std::size_t k = 0; k < input.in; ++k)
      w(n, k) = static_cast<float>(codes[n * input.in + k]) * regular.scales[n];
    for (std::size_t i = 0; i < outliers; ++i)
      w(n, static_cast<std::size_t>(input.outliers[i])) =
          half_to_float(packed.outlier[n * outliers + i]);
  }
}

void LlmInt8::save_input(const Input& input, PartSink& sink) {
  const std::array<std::int32_t, 4> meta = {input.weight_bits, input.activation_bits,
                                            static_cast<std::int32_t>(input.regular()),
                                            static_cast<std::int32_t>(input.outliers.size())};
  sink.put<std::int32_t>("llm_int8_meta", DType::i32, {meta.size()}, meta);
  if (!input.outliers.empty())
    sink.put<std::int32_t>("llm_int8_outliers", DType::i32, {input.outliers.size()},
                           input.outliers);
}

LlmInt8Input LlmInt8::load_input(const PartSource& source) {
  constexpr std::string_view kMeta = "llm_int8_meta";
  constexpr std::string_view kOutliers = "llm_int8_outliers";
  const auto meta = values_of<std::int32_t>(source.get(kMeta, DType::i32, {4}));
  check_number(source, kMeta, "weight bits", meta[0], 2, 8);
  check_number(source, kMeta, "activation bits", meta[1], 2, 8);
  check_number(source, kMeta, "regular channels", meta[2], 1, kMaxInputs);
  check_number(source, kMeta, "outlier channels", meta[3], 0, kMaxInputs - meta[2]);
  LlmInt8Input input;
  input.weight_bits = meta[0];
  input.activation_bits = meta[1];
  const std::int32_t in = meta[2] + meta[3];
  input.in = static_cast<std::size_t>(in);
  if (meta[3] == 0 && source.find(kOutliers))
    refuse_part(source, kMeta, "QC_RANGE", "outlier channels that it does not count", "none");
  if (meta[3] == 0) return input;
  input.outliers = values_of<std::int32_t>(
      source.get(kOutliers, DType::i32, {static_cast<std::uint64_t>(meta[3])}));
  std::int32_t least = 0;
  for (const std::int32_t k : input.outliers) {
    check_number(source, kOutliers, "the next outlier channel", k, least, in - 1);
    least = k + 1;
  }
  return input;
}

void LlmInt8::save(const Packed& packed, PartSink& sink) {
  save_symmetric(packed.regular, kName, sink);
  const std::size_t out = packed.regular.shape.out;
  if (!packed.outlier.empty())
    sink.put<std::uint16_t>("llm_int8_outlier_weights", DType::f16,
                            {out, packed.outlier.size() / out}, packed.outlier);
}

LlmInt8Packed LlmInt8::load(const Input& input, const PartSource& source) {
  constexpr std::string_view kOutliers = "llm_int8_outlier_weights";
  LlmInt8Packed packed;
  packed.regular = load_symmetric(source, kName, input.regular(), input.weight_bits,
                                  WeightGranularity::channel, 0);
  if (input.outliers.empty()) return packed;
  packed.outlier = values_of<std::uint16_t>(
      source.get(kOutliers, DType::f16, {packed.regular.shape.out, input.outliers.size()}));
  for (const std::uint16_t bits : packed.outlier)
    if (!std::isfinite(half_to_float(bits)))
      refuse_part(source, kOutliers, "QC_RANGE", "a weight that is not finite", "finite weights");
  return packed;
}

LinearShape LlmInt8::shape(const Packed& packed) {
  const LinearShape regular = packed.regular.shape;
  return {regular.out, regular.in + packed.outlier.size() / regular.out};
}

std::size_t LlmInt8::bytes(const Packed& packed) {
  return packed.regular.payload() + packed.outlier.size() * sizeof(std::uint16_t);
}

std::size_t LlmInt8::input_bytes(const Input& input) {
  return (4 + input.outliers.size()) * sizeof(std::int32_t);
}

double LlmInt8::activation_bits(const Input& input) {
  const auto outliers = static_cast<double>(input.outliers.size());
  const auto all = static_cast<double>(input.in);
  return (input.activation_bits * (all - outliers) + 16 * outliers + 32) / all;
}

std::string LlmInt8::describe(const Input& input) {
  return fmt::format("a scale per token, {} bits, {} of {} channels in float16",
                     input.activation_bits, input.outliers.size(), input.in);
}

void LlmInt8::reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y) {
  const RowRounding rounding = rounding_of(input);
  const SymmetricCodes regular = unpack_symmetric(packed.regular);
  const std::vector<std::int8_t> weights = spread_codes(input, regular);
  std::vector<std::int16_t> codes(input.in);
  std::vector<float> outliers(input.outliers.size());
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
    take_outliers(input, x.values.row(m), outliers);
    for (std::size_t n = 0; n < regular.shape.out; ++n) {
      std::int64_t sum = 0;
      for (std::size_t k = 0; k < input.in; ++k)
        sum += std::int64_t{codes[k]} * weights[n * input.in + k];
      y(m, n) = static_cast<double>(sum) * static_cast<double>(regular.scales[n]) *
                static_cast<double>(row.step);
      for (std::size_t i = 0; i < outliers.size(); ++i)
        y(m, n) += static_cast<double>(outliers[i]) *
                   static_cast<double>(half_to_float(packed.outlier[n * outliers.size() + i]));
    }
  }
}

void LlmInt8::prepare(Input& input, Isa isa) {
  input.rows = IntegerRows(rounding_of(input), isa, {.bits = input.weight_bits});
  input.floats = &kernels::best_gemm_f32(isa);
}

void LlmInt8::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricCodes regular = unpack_symmetric(packed.regular);
  const std::size_t out = regular.shape.out;
  const std::size_t outliers = input.outliers.size();
  const SymmetricBytes all = pack_symmetric(
      {{out, input.in}, regular.bits, 0, spread_codes(input, regular), regular.scales});
  packed.integers = IntegerLinear(input.rows, {all.shape, all.codes(), all.scales, {}});
  packed.regular.bytes = {};
  if (outliers == 0) return;
  Matrix weights(out, outliers);
  std::ranges::transform(packed.outlier, weights.span().begin(), half_to_float);
  packed.floats = kernels::PanelsF32(weights.view());
}

LlmInt8Rounded LlmInt8::round(const Input& input, const Rows& x, ThreadPool& pool) {
  LlmInt8Rounded out{input.rows.round(x, pool), Matrix(x.values.rows(), input.outliers.size())};
  for (std::size_t m = 0; m < x.values.rows(); ++m)
    take_outliers(input, x.values.row(m), out.outliers.row(m));
  return out;
}

// The integer product first, then the float one is added as the residual that it is.
void LlmInt8::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  if (forks_apart(input))
    return packed.integers.matmul(input.rows, rounded.codes, y, epilogue, pool);
  packed.integers.matmul(input.rows, rounded.codes, y, {}, pool);
  Matrix thin(y.rows(), y.cols());
  kernels::gemm_f32(*input.floats, rounded.outliers.view(), packed.floats, epilogue.bias,
                    thin.view(), pool);
  pool.for_each_part(y.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t m = begin; m < end; ++m)
      for (std::size_t n = 0; n < y.cols(); ++n) y(m, n) += thin(m, n);
  });
}

std::string LlmInt8::kernel(const Input& input, const Packed& packed) {
  const std::string integers = packed.integers.kernel(input.rows);
  if (input.outliers.empty()) return integers;
  return fmt::format("{}, {} of {} channels in gemm_f32 {}", integers, input.outliers.size(),
                     input.in, input.floats->name);
}

}  // namespace tender::quant
