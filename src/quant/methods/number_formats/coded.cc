#include "quant/methods/number_formats/coded.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/float_product.h"
#include "quant/parts.h"
#include "tensor/largest.h"

namespace tender::quant {
namespace {

using Kind = NumberFormat::Kind;

constexpr int kNotRounded = 32;
constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;
// How far below the largest value the search for a step goes. Rows hold outliers of a hundred times
// the rest; weights do not.
constexpr int kRowHalvings = 8;
constexpr int kWeightHalvings = 2;

/// The format of the least squared error, the first where several cost the same.
struct Choice {
  Kind kind = Kind::integer;
  StepFit fit;
};
Choice choose_for_rows(std::span<const Kind> kinds, int bits, MatrixView<const float> rows,
                       float largest) {
  Choice best{kinds.front(),
              fit_step(NumberFormat(kinds.front(), bits), rows, largest, kRowHalvings)};
  for (const Kind kind : kinds.subspan(1)) {
    const StepFit fit = fit_step(NumberFormat(kind, bits), rows, largest, kRowHalvings);
    if (fit.error < best.fit.error) best = {kind, fit};
  }
  return best;
}

/// One layer in one format, a step per output. @return the squared error, outputs in order
double code_weights(Kind kind, int bits, MatrixView<const float> w, ThreadPool& pool,
                    SymmetricCodes& out) {
  const NumberFormat format(kind, bits);
  out = {};
  out.shape = {w.rows(), w.cols()};
  out.bits = bits;
  out.codes.resize(w.rows() * w.cols());
  out.scales.resize(w.rows());
  std::vector<double> errors(w.rows());
  pool.for_each_part(w.rows(), [&](std::size_t begin, std::size_t end) {
    std::vector<float> rounded(w.cols());
    for (std::size_t n = begin; n < end; ++n) {
      const StepFit fit =
          fit_step(format, w.rows_from(n, 1), largest_magnitude(w.row(n)), kWeightHalvings);
      errors[n] = fit.error;
      out.scales[n] = fit.step;
      round_to_format(format, w.row(n), fit.step,
                      std::span(out.codes).subspan(n * w.cols(), w.cols()), rounded);
    }
  });
  double error = 0;
  for (const double each : errors) error += each;
  return error;
}

void check_kind(const PartSource& source, std::string_view part, std::span<const Kind> kinds,
                std::int32_t kind) {
  for (const Kind each : kinds)
    if (static_cast<std::int32_t>(each) == kind) return;
  refuse_part(source, part, "QC_RANGE", fmt::format("format {}", kind), "one of this method");
}

/// A row that is not finite becomes NaN.
void round_row_to(const CodedInput& input, const NumberFormat& format, std::span<const float> x,
                  std::span<std::int8_t> codes, std::span<float> out) {
  if (largest_magnitude(x) <= std::numeric_limits<float>::max() &&
      std::ranges::none_of(x, [](float value) { return std::isnan(value); }))
    return round_to_format(format, x, input.step, codes, out);
  std::ranges::fill(out, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

void CodedCalibration::observe(const Rows& x) {
  if (!wanted_) return;
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    check_finite_row(x.values.row(m), m);
    keep_if_loudest(x.values.row(m));
  }
  sample_.add(x.values);
}

void CodedCalibration::keep_if_loudest(std::span<const float> row) {
  const float largest = largest_magnitude(row);
  if (!loudest_.empty() &&
      (largest < largest_ ||
       (largest == largest_ && !std::ranges::lexicographical_compare(row, loudest_))))
    return;
  largest_ = largest;
  loudest_.assign(row.begin(), row.end());
}

void CodedCalibration::merge(const CodedCalibration& other) {
  if (!other.loudest_.empty()) keep_if_loudest(other.loudest_);
  sample_.merge(other.sample_);
}

Matrix CodedCalibration::rows() const {
  if (loudest_.empty()) return {};
  const Matrix some = sample_.values();
  Matrix all(some.rows() + 1, in_);
  std::ranges::copy(some.span(), all.span().begin());
  std::ranges::copy(loudest_, all.row(some.rows()).begin());
  return all;
}

void CodedCalibration::save(PartSink& sink) const {
  if (!loudest_.empty()) sink.put<float>(part_of(method_, "loudest"), DType::f32, {in_}, loudest_);
  sample_.save(part_of(method_, "sample"), sink);
}

void CodedCalibration::load(const PartSource& source) {
  const std::string name = part_of(method_, "loudest");
  loudest_.clear();
  if (source.find(name)) loudest_ = values_of<float>(source.get(name, DType::f32, {in_}));
  check_finite(source, name, loudest_);
  largest_ = largest_magnitude(loudest_);
  sample_.load(part_of(method_, "sample"), source);
}

std::span<const Kind> AntFamily::kinds(int bits) {
  static constexpr std::array kFour = {Kind::integer, Kind::power_of_two, Kind::flint};
  static constexpr std::array kEight = {Kind::integer, Kind::flint};
  return bits == 4 ? std::span<const Kind>(kFour) : std::span<const Kind>(kEight);
}

std::span<const Kind> OliveFamily::kinds(int) {
  static constexpr std::array kKinds = {Kind::pairs};
  return kKinds;
}

template <class Family>
MethodTraits Coded<Family>::traits() const {
  const bool rounds = options_.activation_granularity == CodedSteps::tensor;
  return {.inputs = rounds ? InputRounding::by_position : InputRounding::none,
          .wants_inputs = rounds,
          .wants_moment = false,
          .idempotent = false,
          .weight_bits = static_cast<double>(options_.weight_bits),
          .activation_bits = rounds ? static_cast<double>(options_.activation_bits) : kNotRounded,
          .even_steps = false,
          .float_product = true};
}

template <class Family>
CodedCalibration Coded<Family>::calibrate(const SiteShape& shape) const {
  return {kName, shape.in, options_.activation_granularity == CodedSteps::tensor};
}

template <class Family>
CodedInput Coded<Family>::input(const Calibration& seen,
                                std::span<const MatrixView<const float>>) const {
  CodedInput input;
  input.in = seen.in();
  input.weight_bits = options_.weight_bits;
  input.format = Family::kinds(options_.activation_bits).front();
  if (options_.activation_granularity == CodedSteps::none) return input;
  const Matrix rows = seen.rows();
  if (rows.rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION", .hint = "give --calibration, or --activation-granularity none"},
         "{} saw no calibration rows", kName);
  input.activation_bits = options_.activation_bits;
  const Choice choice = choose_for_rows(Family::kinds(input.activation_bits), input.activation_bits,
                                        rows.view(), seen.largest());
  input.format = choice.kind;
  input.step = choice.fit.step;
  return input;
}

template <class Family>
void Coded<Family>::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  std::vector<std::int8_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    if (input.rounds())
      round_row_to(input, NumberFormat(input.format, input.activation_bits), x.values.row(m), codes,
                   out.row(m));
    else
      std::ranges::copy(x.values.row(m), out.row(m).begin());
  }
}

template <class Family>
CodedCodes Coded<Family>::quantize(MatrixView<const float> w, const Input& input,
                                   const SecondMoment*, ThreadPool& pool) const {
  require(w.cols() == input.in, "weights are [out, in]");
  CodedCodes best;
  double least = std::numeric_limits<double>::infinity();
  for (const Kind kind : Family::kinds(input.weight_bits)) {
    CodedCodes candidate{kind, {}};
    const double error = code_weights(kind, input.weight_bits, w, pool, candidate.codes);
    if (!(error < least)) continue;
    least = error;
    best = std::move(candidate);
  }
  return best;
}

template <class Family>
CodedPacked Coded<Family>::pack(const Codes& codes) {
  return {codes.format, pack_symmetric(codes.codes), {}};
}

template <class Family>
CodedCodes Coded<Family>::unpack(const Packed& packed) {
  return {packed.format, unpack_symmetric(packed.weights)};
}

template <class Family>
void Coded<Family>::dequantize(const Input& input, const Packed& packed, MatrixView<float> w) {
  const SymmetricCodes weights = unpack_symmetric(packed.weights);
  const NumberFormat format(packed.format, input.weight_bits);
  for (std::size_t n = 0; n < w.rows(); ++n) {
    format.decode(std::span(weights.codes).subspan(n * input.in, input.in), w.row(n));
    for (float& value : w.row(n)) value *= weights.scales[n];
  }
}

template <class Family>
void Coded<Family>::save_input(const Input& input, PartSink& sink) {
  const std::array<std::int32_t, 4> meta = {input.weight_bits, input.activation_bits,
                                            static_cast<std::int32_t>(input.format),
                                            static_cast<std::int32_t>(input.in)};
  sink.put<std::int32_t>(part_of(kName, "meta"), DType::i32, {meta.size()}, meta);
  if (input.rounds())
    sink.put<float>(part_of(kName, "step"), DType::f32, {1},
                    std::span<const float>(&input.step, 1));
}

template <class Family>
CodedInput Coded<Family>::load_input(const PartSource& source) {
  const std::string name = part_of(kName, "meta");
  const auto meta = values_of<std::int32_t>(source.get(name, DType::i32, {4}));
  const auto check_bits = [&](std::string_view what, std::int32_t bits) {
    if (bits != 4) check_number(source, name, what, bits, 8, 8);
  };
  check_bits("weight bits", meta[0]);
  if (meta[1] != kNotRounded) check_bits("activation bits", meta[1]);
  check_kind(source, name, Family::kinds(meta[1]), meta[2]);
  check_number(source, name, "inputs", meta[3], 1, kMaxInputs);
  CodedInput input;
  input.weight_bits = meta[0];
  input.activation_bits = meta[1];
  input.format = static_cast<Kind>(meta[2]);
  input.in = static_cast<std::size_t>(meta[3]);
  if (!input.rounds()) return input;
  const auto step = values_of<float>(source.get(part_of(kName, "step"), DType::f32, {1}));
  check_scales(source, part_of(kName, "step"), step);
  input.step = step[0];
  return input;
}

template <class Family>
void Coded<Family>::save(const Packed& packed, PartSink& sink) {
  save_symmetric(packed.weights, kName, sink);
  const auto format = static_cast<std::int32_t>(packed.format);
  sink.put<std::int32_t>(part_of(kName, "format"), DType::i32, {1}, std::span(&format, 1));
}

template <class Family>
CodedPacked Coded<Family>::load(const Input& input, const PartSource& source) {
  const std::string name = part_of(kName, "format");
  const std::int32_t kind = values_of<std::int32_t>(source.get(name, DType::i32, {1}))[0];
  check_kind(source, name, Family::kinds(input.weight_bits), kind);
  return {static_cast<Kind>(kind),
          load_symmetric(source, kName, input.in, input.weight_bits, WeightGranularity::channel, 0),
          {}};
}

template <class Family>
std::size_t Coded<Family>::bytes(const Packed& packed) {
  return packed.weights.payload() + sizeof(std::int32_t);
}

template <class Family>
std::size_t Coded<Family>::input_bytes(const Input& input) {
  return 4 * sizeof(std::int32_t) + (input.rounds() ? sizeof(float) : 0);
}

template <class Family>
std::string Coded<Family>::describe(const Input& input) {
  if (!input.rounds()) return "float32 rows";
  return fmt::format("one scale, {} bits, {}", input.activation_bits, to_string(input.format));
}

template <class Family>
InputRounding Coded<Family>::rounding(const Input& input) {
  return input.rounds() ? InputRounding::by_position : InputRounding::none;
}

template <class Family>
void Coded<Family>::reference(const Input& input, const Packed& packed, const Rows& x,
                              MatrixView<double> y) {
  Matrix w(packed.weights.shape.out, input.in);
  dequantize(input, packed, w.view());
  Matrix rows(x.values.rows(), input.in);
  rounded(input, x, rows.view());
  reference_product(rows.view(), w.view(), y);
}

template <class Family>
void Coded<Family>::prepare(Input& input, Isa isa) {
  input.floats = &kernels::best_gemm_f32(isa);
}

template <class Family>
void Coded<Family>::prepare(const Input& input, Packed& packed, Isa) {
  Matrix w(packed.weights.shape.out, input.in);
  dequantize(input, packed, w.view());
  packed.floats = kernels::PanelsF32(w.view());
  packed.weights.bytes = {};
}

template <class Family>
CodedRounded Coded<Family>::round(const Input& input, const Rows& x, ThreadPool& pool) {
  CodedRounded out;
  out.rows = x.values;
  if (!input.rounds()) return out;
  out.rounded = Matrix(x.values.rows(), input.in);
  pool.for_each_part(x.values.rows(), [&](std::size_t begin, std::size_t end) {
    rounded(input,
            {x.values.rows_from(begin, end - begin), x.positions.subspan(begin, end - begin)},
            out.rounded.view().rows_from(begin, end - begin));
  });
  out.rows = out.rounded.view();
  return out;
}

template <class Family>
void Coded<Family>::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                           MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  kernels::gemm_f32(*input.floats, rounded.rows, packed.floats, epilogue.bias, y, pool);
}

template <class Family>
std::string Coded<Family>::kernel(const Input& input, const Packed& packed) {
  const std::string rows =
      input.rounds() ? fmt::format("{} rows, ", to_string(input.format)) : std::string();
  return fmt::format("gemm_f32 {} on {}{} weights: evaluated in float", input.floats->name, rows,
                     to_string(packed.format));
}

template class Coded<AntFamily>;
template class Coded<OliveFamily>;

}  // namespace tender::quant
