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
  const bool rotates = options_.rotation == TenderRotation::hadamard;
  SiteShape basis = shape;
  basis.nonnegative = shape.nonnegative && !rotates;
  TenderCalibration seen{basis, static_cast<std::size_t>(options_.chunk_rows),
                         options_.mode == TenderMode::automatic};
  if (rotates) seen.rotate(Rotation(shape.in));
  return seen;
}

TenderInput Tender::input(const Calibration& seen,
                          std::span<const MatrixView<const float>> weights) const {
  // Only mode auto looks at the weights.
  if (options_.rotation == TenderRotation::none || options_.mode != TenderMode::automatic)
    return tender_input(seen, options_, weights);
  const Rotation rotation(seen.in());
  std::vector<Matrix> rotated;
  std::vector<MatrixView<const float>> views;
  for (const MatrixView<const float>& w : weights) rotated.push_back(rotation.rotated(w));
  for (const Matrix& w : rotated) views.push_back(w.view());
  return tender_input(seen, options_, views);
}

void Tender::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  const RowRounding rounding = tender_rounding(input);
  const Matrix rotated = input.rotated ? Rotation(input.in).rotated(x.values) : Matrix();
  const MatrixView<const float> rows = input.rotated ? rotated.view() : x.values;
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < rows.rows(); ++m)
    expand_row(rounding, round_row(rounding, rows.row(m), x.positions[m], codes), codes,
               out.row(m));
}

TenderCodes Tender::quantize(MatrixView<const float> w, const Input& input,
                             const SecondMoment* moment, ThreadPool& pool) const {
  require(w.cols() == input.in, "weights are [out, in]");
  if (!input.rotated) return quantize_in_basis(w, input, moment, pool);
  const Matrix rotated = Rotation(input.in).rotated_weights(w, pool);
  return quantize_in_basis(rotated.view(), input, moment, pool);
}

TenderCodes Tender::quantize_in_basis(MatrixView<const float> w, const Input& input,
                                      const SecondMoment* moment, ThreadPool& pool) const {
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

void Tender::dequantize(const Input& input, const Packed& packed, MatrixView<float> w) {
  dequantize_symmetric(unpack_symmetric(packed.weights), w);
  if (input.rotated) Rotation(input.in).rotate_weights_back(w);
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
  const Matrix rotated = input.rotated ? Rotation(in).rotated(x.values) : Matrix();
  const MatrixView<const float> rows = input.rotated ? rotated.view() : x.values;
  std::vector<std::int16_t> codes(in);
  for (std::size_t m = 0; m < rows.rows(); ++m) {
    const RoundedRow row = round_row(rounding, rows.row(m), x.positions[m], codes);
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
  input.rows = IntegerRows(tender_rounding(input), isa,
                           {.bits = input.weight_bits, .group = input.multiplier_group});
  if (input.rotated) input.rotation = Rotation(input.in, isa);
}

void Tender::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricCodes weights = unpack_symmetric(packed.weights);
  packed.integers =
      IntegerLinear(input.rows, {weights.shape, weights.codes, weights.scales, packed.compensation,
                                 weights.multipliers, input.multiplier_group});
  packed.weights.bytes = {};
}

IntegerCodes Tender::round(const Input& input, const Rows& x, ThreadPool& pool) {
  if (!input.rotated) return input.rows.round(x, pool);
  const Matrix rotated = input.rotation.rotated(x.values, pool);
  return input.rows.round({rotated.view(), x.positions}, pool);
}

void Tender::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                    MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  packed.integers.matmul(input.rows, rounded, y, epilogue, pool);
}

std::string Tender::kernel(const Input& input, const Packed& packed) {
  return packed.integers.kernel(input.rows) + (input.rotated ? ", rows rotated" : "");
}

}  // namespace tender::quant
