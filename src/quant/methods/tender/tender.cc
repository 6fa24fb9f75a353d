#include "quant/methods/tender/tender.h"

#include <algorithm>
#include <bit>

#include "base/contracts.h"
#include "quant/methods/tender/tender_compat.h"
#include "quant/methods/tender/tender_dynamic.h"
#include "quant/parts.h"

namespace tender::quant {

namespace {

constexpr std::size_t kLine = 16;  // outputs of a cache line, which threads do not share

InputRounding rounding_in(TenderMode mode, std::size_t chunk_rows) {
  if (mode == TenderMode::dynamic) return InputRounding::by_chunk;
  const bool by_row = mode == TenderMode::row_scaled || mode == TenderMode::one_row;
  return by_row && chunk_rows == 0 ? InputRounding::by_row : InputRounding::by_position;
}

/// sum over k of bias[k] * w[k] in double and rising k, rounded once.
float compensation_of(std::span<const float> bias, std::span<const float> w) {
  double sum = 0;
  for (std::size_t k = 0; k < bias.size(); ++k)
    sum += static_cast<double>(bias[k]) * static_cast<double>(w[k]);
  return static_cast<float>(sum);
}

/// What is added back to output n for rows of this chunk.
double addend_of(std::span<const float> bias, std::size_t index, const TenderPacked& packed,
                 std::size_t n) {
  const auto [out, in] = packed.weights.shape;
  if (!packed.original.empty())
    return static_cast<double>(
        compensation_of(bias, std::span(packed.original).subspan(n * in, in)));
  return packed.compensation.empty() ? 0
                                     : static_cast<double>(packed.compensation[index * out + n]);
}

void reference_of_chunk(const ChunkOfRows& rows, const SymmetricCodes& weights,
                        const TenderPacked& packed, const Rows& x, MatrixView<double> y) {
  const auto [out, in] = weights.shape;
  std::vector<std::int16_t> codes(in);
  for (std::size_t m = rows.begin; m < rows.end; ++m) {
    const RoundedRow row = round_row(rows.rounding, x.values.row(m), x.positions[m], codes);
    const ChunkRounding& chunk = rows.rounding.chunks[row.chunk];
    for (std::size_t n = 0; n < out; ++n) {
      std::int64_t sum = 0;
      for (std::size_t k = 0; k < in; ++k)
        sum += std::int64_t{codes[k]} * weights.codes[n * in + k] *
               (std::int64_t{1} << (chunk.shift.empty() ? 0U : chunk.shift[k]));
      y(m, n) = static_cast<double>(sum) * static_cast<double>(weights.scales[n]) *
                    static_cast<double>(row.step) +
                addend_of(chunk.bias, row.chunk, packed, n);
    }
  }
}

void reference_compat(const TenderInput& input, const SymmetricCodes& weights,
                      const TenderPacked& packed, const Rows& x, MatrixView<double> y) {
  const auto [out, in] = weights.shape;
  ThreadPool pool(1);
  const CompatRounded rows = compat_rounded(input, x, pool);
  for (std::size_t m = 0; m < x.values.rows(); ++m)
    for (std::size_t n = 0; n < out; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < in; ++k)
        sum += static_cast<double>(rows.values(m, k)) * weights.codes[n * in + k];
      y(m, n) = sum * static_cast<double>(weights.scales[n]) +
                addend_of(rows.chunks[rows.chunk[m]].bias, rows.chunk[m], packed, n);
    }
}

}  // namespace

MethodTraits Tender::traits() const {
  const bool compensated = options_.weights.weight_search == WeightSearch::gptq;
  return {
      .inputs = rounding_in(options_.mode, static_cast<std::size_t>(options_.chunk_rows)),
      .wants_inputs = options_.mode != TenderMode::one_row && options_.mode != TenderMode::dynamic,
      .wants_moment = compensated,
      .first_row_share = options_.weights.first_row_share,
      .idempotent = false,  // the compensation is of the weights as they came
      .weight_bits = static_cast<double>(options_.weight_bits),
      .activation_bits = static_cast<double>(options_.activation_bits),
      .even_steps =
          options_.rounding == TenderRounding::up && options_.numerics == TenderNumerics::clean};
}

TenderCalibration Tender::calibrate(const SiteShape& shape) const {
  return {shape, static_cast<std::size_t>(options_.chunk_rows), tender_measures(options_),
          options_.numerics == TenderNumerics::compat, options_.rotation};
}

TenderInput Tender::input(const Calibration& seen,
                          std::span<const MatrixView<const float>> weights) const {
  return tender_input(seen, options_, weights);
}

void Tender::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  const Matrix rotated = input.rotated ? Rotation(input.in).rotated(x.values) : Matrix();
  const MatrixView<const float> rows = input.rotated ? rotated.view() : x.values;
  ThreadPool pool(1);
  if (input.compat) {
    const CompatRounded compat = compat_rounded(input, {rows, x.positions}, pool);
    for (std::size_t m = 0; m < rows.rows(); ++m)
      std::ranges::copy(compat.values.row(m), out.row(m).begin());
    return;
  }
  std::vector<std::int16_t> codes(input.in);
  for (const auto& [begin, end, rounding] : tender_chunks(input, {rows, x.positions}, pool))
    for (std::size_t m = begin; m < end; ++m)
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
  TenderCodes codes{search_weights(w, tender_weight_format(input), options_.weights, moment, pool),
                    {}};
  for (std::size_t at = 0; at < input.bias.size(); at += input.in)
    for (std::size_t n = 0; n < w.rows(); ++n)
      codes.compensation.push_back(
          compensation_of(std::span(input.bias).subspan(at, input.in), w.row(n)));
  for (std::size_t n = 0; input.dynamic_bias && n < w.rows(); ++n)
    codes.original.insert(codes.original.end(), w.row(n).begin(), w.row(n).end());
  return codes;
}

TenderPacked Tender::pack(const Codes& codes) {
  return {pack_symmetric(codes.weights), codes.compensation, codes.original, {}, {}};
}

TenderCodes Tender::unpack(const Packed& packed) {
  return {unpack_symmetric(packed.weights), packed.compensation, packed.original};
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
  if (!packed.original.empty())
    sink.put<float>("tender_original", DType::f32, {out, packed.original.size() / out},
                    packed.original);
}

TenderPacked Tender::load(const Input& input, const PartSource& source) {
  const WeightFormat format = tender_weight_format(input);
  TenderPacked packed{
      load_symmetric(source, "tender", input.in, format.bits, format.granularity, format.group),
      {},
      {},
      {},
      {}};
  if (!input.bias.empty())
    packed.compensation = values_of<float>(
        source.get("tender_compensation", DType::f32, {input.chunks(), packed.weights.shape.out}));
  check_finite(source, "tender_compensation", packed.compensation);
  if (input.dynamic_bias)
    packed.original = values_of<float>(
        source.get("tender_original", DType::f32, {packed.weights.shape.out, input.in}));
  check_finite(source, "tender_original", packed.original);
  return packed;
}

std::size_t Tender::bytes(const Packed& packed) {
  return packed.weights.payload() +
         (packed.compensation.size() + packed.original.size()) * sizeof(float);
}

/// A code, in one-row mode the exponent of each element, and the step where a row has its own; in
/// dynamic mode the group and the bias of each channel and TMax, shared by the rows of a chunk.
double Tender::activation_bits(const Input& input) {
  double bits = input.activation_bits;
  if (input.mode == TenderMode::one_row)
    bits += std::bit_width(static_cast<unsigned>(input.groups - 1));
  if (input.mode == TenderMode::dynamic && input.chunk_rows != 0) {
    const double chunk = 32.0 / static_cast<double>(input.in) + (input.dynamic_bias ? 32 : 0) +
                         std::bit_width(static_cast<unsigned>(input.groups - 1));
    bits += chunk / static_cast<double>(input.chunk_rows);
  }
  if (input.mode == TenderMode::row_scaled || input.mode == TenderMode::one_row)
    bits += 32.0 / static_cast<double>(input.in);
  return bits;
}

InputRounding Tender::rounding(const Input& input) {
  return rounding_in(input.mode, input.chunk_rows);
}

void Tender::reference(const Input& input, const Packed& packed, const Rows& x,
                       MatrixView<double> y) {
  const SymmetricCodes weights = expanded(unpack_symmetric(packed.weights));
  const Matrix rotated = input.rotated ? Rotation(input.in).rotated(x.values) : Matrix();
  const MatrixView<const float> rows = input.rotated ? rotated.view() : x.values;
  if (input.compat) return reference_compat(input, weights, packed, {rows, x.positions}, y);
  ThreadPool pool(1);
  for (const ChunkOfRows& chunk : tender_chunks(input, {rows, x.positions}, pool))
    reference_of_chunk(chunk, weights, packed, {rows, x.positions}, y);
}

void Tender::prepare(Input& input, Isa isa) {
  if (input.compat)
    input.floats = &kernels::best_gemm_f32(isa);
  else
    input.rows = IntegerRows(tender_rounding(input), isa,
                             {.bits = input.weight_bits, .group = input.multiplier_group});
  if (input.rotated) input.rotation = Rotation(input.in, isa);
}

void Tender::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricBytes& weights = packed.weights;
  if (input.compat) {
    Matrix w(weights.shape.out, weights.shape.in);
    dequantize_symmetric(unpack_symmetric(weights), w.view());
    packed.floats = kernels::PanelsF32(w.view());
  } else {
    packed.integers = IntegerLinear(
        input.rows, {weights.shape, weights.codes(), weights.scales, packed.compensation,
                     weights.multipliers, input.multiplier_group});
  }
  packed.weights.bytes = {};
}

TenderRounded Tender::round(const Input& input, const Rows& x, ThreadPool& pool) {
  if (input.mode != TenderMode::dynamic && !input.compat)
    return {input.rows.round(x, pool, input.rotated ? &input.rotation : nullptr), {}, {}};
  const Matrix rotated = input.rotated ? input.rotation.rotated(x.values, pool) : Matrix();
  const Rows rows = {input.rotated ? rotated.view() : x.values, x.positions};
  if (input.compat) {
    CompatRounded compat = compat_rounded(input, rows, pool);
    TenderRounded rounded{{}, std::move(compat.values), {}};
    rounded.codes.chunks = std::move(compat.chunk);
    rounded.codes.clipped = compat.clipped;
    if (input.dynamic_bias) rounded.bias = Matrix(compat.chunks.size(), input.in);
    for (std::size_t c = 0; c < rounded.bias.rows(); ++c)
      std::ranges::copy(compat.chunks[c].bias, rounded.bias.row(c).begin());
    return rounded;
  }
  const std::vector<ChunkOfRows> chunks = tender_chunks(input, rows, pool);
  TenderRounded rounded{input.rows.round(rows, chunks, pool), {}, {}};
  if (input.dynamic_bias) rounded.bias = Matrix(chunks.size(), input.in);
  for (std::size_t c = 0; c < rounded.bias.rows(); ++c)
    std::ranges::copy(chunks[c].rounding.chunks[0].bias, rounded.bias.row(c).begin());
  return rounded;
}

// Of calibrated metadata: static ranges, and whatever is kept by position. Rows of the other modes
// are never clipped.
SiteCounts Tender::counts(const Input& input, const Rows& x, const Rounded& rounded) {
  const bool ranges = input.mode == TenderMode::static_scales;
  const bool by_position = input.mode == TenderMode::row_scaled && input.chunk_rows != 0;
  if (!ranges && !by_position) return {};
  SiteCounts counts{x.values.rows(), x.values.rows() * input.in, rounded.codes.clipped, 0};
  const std::size_t calibrated = input.chunks() * input.chunk_rows;
  for (const std::int32_t position : x.positions)
    if (input.chunk_rows != 0 && position >= 0 && static_cast<std::size_t>(position) >= calibrated)
      ++counts.beyond;
  return counts;
}

void Tender::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                    MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  if (forks_apart(input))
    return packed.integers.matmul(input.rows, rounded.codes, y, epilogue, pool);
  if (input.compat)
    kernels::gemm_f32(*input.floats, rounded.values.view(), packed.floats, {}, y, pool);
  else
    packed.integers.matmul(input.rows, rounded.codes, y, {}, pool);
  add_back(input, packed, rounded, y, epilogue, pool);
}

void Tender::add_back(const Input& input, const Packed& packed, const Rounded& rounded,
                      MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  pool.for_each_part(y.cols(), kLine, [&](std::size_t begin, std::size_t end) {
    std::vector<float> addends(input.dynamic_bias ? rounded.bias.rows() : input.chunks(), 0.0F);
    for (std::size_t n = begin; n < end; ++n) {
      for (std::size_t c = 0; c < addends.size(); ++c)
        if (input.dynamic_bias)
          addends[c] = compensation_of(rounded.bias.row(c),
                                       std::span(packed.original).subspan(n * input.in, input.in));
        else if (!packed.compensation.empty())
          addends[c] = packed.compensation[c * y.cols() + n];
      for (std::size_t m = 0; !addends.empty() && m < y.rows(); ++m)
        y(m, n) += addends[rounded.codes.chunks[m]];
      for (std::size_t m = 0; !epilogue.bias.empty() && m < y.rows(); ++m)
        y(m, n) += epilogue.bias[n];
    }
  });
}

std::string Tender::kernel(const Input& input, const Packed& packed) {
  if (input.compat)
    return "gemm_f32 " + std::string(input.floats->name) +
           " on rounded rows: float16 scales are not always powers of two apart";
  return packed.integers.kernel(input.rows) + (input.rotated ? ", rows rotated" : "");
}

}  // namespace tender::quant
