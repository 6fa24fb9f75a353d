#include "quant/methods/tender/tender.h"

#include <bit>

#include "base/contracts.h"
#include "quant/parts.h"

namespace tender::quant {

namespace {

InputRounding rounding_in(TenderMode mode, std::size_t chunk_rows) {
  const bool by_row = mode == TenderMode::row_scaled || mode == TenderMode::one_row;
  return by_row && chunk_rows == 0 ? InputRounding::by_row : InputRounding::by_position;
}

WeightFormat weight_format(const TenderInput& input) {
  const bool multiplied = input.multiplier_group != 0;
  return {.bits = input.weight_bits,
          .granularity = multiplied ? WeightGranularity::multiplier : WeightGranularity::channel,
          .group = input.multiplier_group};
}

}  // namespace

MethodTraits Tender::traits() const {
  const bool compensated = options_.weights.weight_search == WeightSearch::gptq;
  return {.inputs = rounding_in(options_.mode, static_cast<std::size_t>(options_.chunk_rows)),
          .wants_inputs = options_.mode != TenderMode::one_row,
          .wants_moment = compensated,
          .idempotent = false,  // the compensation is of the weights as they came
          .weight_bits = static_cast<double>(options_.weight_bits),
          .activation_bits = static_cast<double>(options_.activation_bits)};
}

TenderCalibration Tender::calibrate(const SiteShape& shape) const {
  return {shape, static_cast<std::size_t>(options_.chunk_rows),
          options_.mode == TenderMode::automatic};
}

TenderCalibration Tender::load_calibration(const SiteShape& shape, const PartSource& source) const {
  TenderCalibration seen = calibrate(shape);
  seen.load(source);
  return seen;
}

void Tender::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  const RowRounding rounding = tender_rounding(input);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m)
    expand_row(rounding, round_row(rounding, x.values.row(m), x.positions[m], codes), codes,
               out.row(m));
}

TenderCodes Tender::quantize(MatrixView<const float> w, const Input& input,
                             const SecondMoment* moment, ThreadPool& pool) const {
  require(w.cols() == input.in, "weights are [out, in]");
  TenderCodes codes{search_weights(w, weight_format(input), options_.weights, moment, pool), {}};
  for (std::size_t at = 0; at < input.bias.size(); at += input.in)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < input.in; ++k)
        sum += static_cast<double>(input.bias[at + k]) * static_cast<double>(w(n, k));
      codes.compensation.push_back(static_cast<float>(sum));
    }
  return codes;
}

TenderPacked Tender::pack(const Codes& codes) {
  return {pack_symmetric(codes.weights), codes.compensation, {}};
}

TenderCodes Tender::unpack(const Packed& packed) {
  return {unpack_symmetric(packed.weights), packed.compensation};
}

void Tender::dequantize(const Input&, const Packed& packed, MatrixView<float> w) {
  dequantize_symmetric(unpack_symmetric(packed.weights), w);
}

void Tender::save(const Packed& packed, PartSink& sink) {
  save_symmetric(packed.weights, "tender", sink);
  const std::size_t out = packed.weights.shape.out;
  if (!packed.compensation.empty())
    sink.put<float>("tender_compensation", DType::f32, {packed.compensation.size() / out, out},
                    packed.compensation);
}

TenderPacked Tender::load(const Input& input, const PartSource& source) {
  const WeightFormat format = weight_format(input);
  TenderPacked packed{
      load_symmetric(source, "tender", input.in, format.bits, format.granularity, format.group),
      {},
      {}};
  if (!input.bias.empty())
    packed.compensation = values_of<float>(
        source.get("tender_compensation", DType::f32, {input.chunks(), packed.weights.shape.out}));
  check_finite(source, "tender_compensation", packed.compensation);
  return packed;
}

std::size_t Tender::bytes(const Packed& packed) {
  return packed.weights.payload() + packed.compensation.size() * sizeof(float);
}

/// A code, in one-row mode the exponent of each element, and the step where a row has its own.
double Tender::activation_bits(const Input& input) {
  double bits = input.activation_bits;
  if (input.mode == TenderMode::one_row)
    bits += std::bit_width(static_cast<unsigned>(input.groups - 1));
  if (input.mode != TenderMode::static_scales) bits += 32.0 / static_cast<double>(input.in);
  return bits;
}

InputRounding Tender::rounding(const Input& input) {
  return rounding_in(input.mode, input.chunk_rows);
}

void Tender::reference(const Input& input, const Packed& packed, const Rows& x,
                       MatrixView<double> y) {
  const RowRounding rounding = tender_rounding(input);
  const SymmetricCodes weights = expanded(unpack_symmetric(packed.weights));
  const auto [out, in] = weights.shape;
  std::vector<std::int16_t> codes(in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
    const auto& shift = rounding.chunks[row.chunk].shift;
    for (std::size_t n = 0; n < out; ++n) {
      std::int64_t sum = 0;
      for (std::size_t k = 0; k < in; ++k)
        sum += std::int64_t{codes[k]} * weights.codes[n * in + k] *
               (std::int64_t{1} << (shift.empty() ? 0U : shift[k]));
      y(m, n) = static_cast<double>(sum) * static_cast<double>(weights.scales[n]) *
                static_cast<double>(row.step);
      if (!packed.compensation.empty())
        y(m, n) += static_cast<double>(packed.compensation[row.chunk * out + n]);
    }
  }
}

void Tender::prepare(Input& input, Isa isa) {
  input.rows = IntegerRows(tender_rounding(input), isa);
}

void Tender::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricCodes weights = expanded(unpack_symmetric(packed.weights));
  packed.integers = IntegerLinear(
      input.rows, {weights.shape, weights.codes, weights.scales, packed.compensation});
  packed.weights.bytes = {};
}

IntegerCodes Tender::round(const Input& input, const Rows& x, ThreadPool& pool) {
  return input.rows.round(x, pool);
}

void Tender::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                    MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  packed.integers.matmul(input.rows, rounded, y, epilogue, pool);
}

std::string Tender::kernel(const Input& input, const Packed& packed) {
  return packed.integers.kernel(input.rows);
}

}  // namespace tender::quant
