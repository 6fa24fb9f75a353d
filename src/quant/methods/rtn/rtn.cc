#include "quant/methods/rtn/rtn.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/float_product.h"
#include "quant/options.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr int kNotRounded = 32;
constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;

int highest_code(int bits) { return (1 << (bits - 1)) - 1; }

bool is_static(ActivationGranularity granularity) {
  return granularity == ActivationGranularity::tensor ||
         granularity == ActivationGranularity::channel;
}

/// Whether one step serves all channels of a row, so that the product is one of integers.
bool is_integer(const RtnInput& input) {
  return input.granularity == ActivationGranularity::token ||
         input.granularity == ActivationGranularity::tensor;
}

/// 1 / step, 0 for a channel that calibration only saw as 0.
float multiplier_of(float scale) { return scale < RowRounding::kTinyPeak ? 0 : 1 / scale; }

RowRounding rounding_of(const RtnInput& input) {
  RowRounding rounding{.in = input.in,
                       .low = -highest_code(input.activation_bits) - 1,
                       .high = highest_code(input.activation_bits),
                       .by_row = input.granularity == ActivationGranularity::token,
                       .chunk_rows = 0,
                       .chunks = {ChunkRounding{}}};
  if (input.granularity == ActivationGranularity::tensor) {
    rounding.chunks[0].multiplier.assign(input.in, multiplier_of(input.scales[0]));
    rounding.chunks[0].unit = input.scales[0];
  }
  if (input.granularity == ActivationGranularity::channel)
    for (const float scale : input.scales)
      rounding.chunks[0].multiplier.push_back(multiplier_of(scale));
  return rounding;
}

/// Rows rounded per channel and multiplied back: scales inside the sum over k cannot leave it, so
/// the product of such rows is one of floats, and is called nothing else.
void round_per_channel(const RtnInput& input, const RowRounding& rounding, const Rows& x,
                       std::size_t m, std::span<float> rounded) {
  std::vector<std::int16_t> codes(input.in);
  const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
  for (std::size_t k = 0; k < input.in; ++k)  // row.step is 1, or NaN for a row that is not finite
    rounded[k] = static_cast<float>(codes[k]) * input.scales[k] * row.step;
}

void reference_integers(const RtnInput& input, const SymmetricCodes& weights, const Rows& x,
                        MatrixView<double> y) {
  const RowRounding rounding = rounding_of(input);
  const std::size_t width = weights.group == 0 ? input.in : weights.group;
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
    for (std::size_t n = 0; n < weights.shape.out; ++n) {
      double total = 0;
      for (std::size_t begin = 0; begin < input.in; begin += width) {
        std::int64_t sum = 0;
        for (std::size_t k = begin; k < std::min(begin + width, input.in); ++k)
          sum += std::int64_t{codes[k]} * weights.codes[n * input.in + k];
        total += static_cast<double>(sum) * static_cast<double>(weights.scale(n, begin));
      }
      y(m, n) = total * static_cast<double>(row.step);
    }
  }
}

/// Inputs whose sums stand apart; multipliers are inside the codes and stand in no one's way.
std::size_t stretch_of(const RtnInput& input) {
  return input.weight_granularity == WeightGranularity::group ? input.group : 0;
}

}  // namespace

void settle(RtnOptions& options) {
  if (options.weight_granularity == WeightGranularity::multiplier && options.weight_bits != 4)
    refuse_option("rtn", "weight_granularity", "multiplier", "another one for codes of 8 bits");
}

MethodTraits Rtn::traits() const {
  const ActivationGranularity granularity = options_.activation_granularity;
  return {.inputs = granularity == ActivationGranularity::none    ? InputRounding::none
                    : granularity == ActivationGranularity::token ? InputRounding::by_row
                                                                  : InputRounding::by_position,
          .wants_inputs = is_static(granularity),
          .idempotent = options_.weight_scale == WeightScale::max &&
                        options_.weight_granularity != WeightGranularity::multiplier,
          .weight_bits = static_cast<double>(options_.weight_bits),
          .activation_bits = granularity == ActivationGranularity::none
                                 ? kNotRounded
                                 : static_cast<double>(options_.activation_bits),
          .float_product = granularity == ActivationGranularity::channel};
}

RtnInput Rtn::input(const Calibration& seen, std::span<const MatrixView<const float>>) const {
  RtnInput input;
  input.in = seen.largest().size();
  input.weight_bits = options_.weight_bits;
  input.weight_granularity = options_.weight_granularity;
  if (options_.weight_granularity == WeightGranularity::group ||
      options_.weight_granularity == WeightGranularity::multiplier)
    input.group = std::min(static_cast<std::size_t>(options_.group_size), input.in);
  input.granularity = options_.activation_granularity;
  if (input.granularity != ActivationGranularity::none)
    input.activation_bits = options_.activation_bits;
  if (!is_static(input.granularity)) return input;
  if (seen.rows() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION", .hint = "give --calibration, or --activation-granularity token"},
         "rtn with static activation scales saw no calibration rows");
  const auto scale_of = [&](float largest) {
    return largest < RowRounding::kTinyPeak
               ? RowRounding::kTinyPeak / 2
               : largest / static_cast<float>(highest_code(input.activation_bits));
  };
  if (input.granularity == ActivationGranularity::tensor)
    input.scales.push_back(
        scale_of(*std::max_element(seen.largest().begin(), seen.largest().end())));
  else
    for (const float largest : seen.largest()) input.scales.push_back(scale_of(largest));
  return input;
}

void Rtn::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  if (input.granularity == ActivationGranularity::none) {
    for (std::size_t m = 0; m < x.values.rows(); ++m)
      std::ranges::copy(x.values.row(m), out.row(m).begin());
    return;
  }
  const RowRounding rounding = rounding_of(input);
  std::vector<std::int16_t> codes(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    if (input.granularity == ActivationGranularity::channel) {
      round_per_channel(input, rounding, x, m, out.row(m));
    } else {
      const RoundedRow row = round_row(rounding, x.values.row(m), x.positions[m], codes);
      expand_row(rounding, row, codes, out.row(m));
    }
  }
}

SymmetricCodes Rtn::quantize(MatrixView<const float> w, const Input& input, const SecondMoment*,
                             ThreadPool& pool) const {
  WeightSearchOptions search;
  search.weight_scale = options_.weight_scale;
  return quantize(w, input, search, nullptr, pool);
}

SymmetricCodes Rtn::quantize(MatrixView<const float> w, const Input& input,
                             const WeightSearchOptions& search, const SecondMoment* moment,
                             ThreadPool& pool) {
  return search_weights(w, {input.weight_bits, input.weight_granularity, input.group}, search,
                        moment, pool);
}

RtnPacked Rtn::pack(const Codes& codes) { return {pack_symmetric(codes), {}, {}}; }
SymmetricCodes Rtn::unpack(const Packed& packed) { return unpack_symmetric(packed.weights); }
void Rtn::dequantize(const Input&, const Packed& packed, MatrixView<float> w) {
  dequantize_symmetric(unpack(packed), w);
}

void Rtn::save_input(const Input& input, PartSink& sink) {
  const std::array<std::int32_t, 5> meta = {
      input.weight_bits, static_cast<std::int32_t>(input.group),
      input.weight_granularity == WeightGranularity::tensor       ? 1
      : input.weight_granularity == WeightGranularity::multiplier ? 2
                                                                  : 0,
      input.activation_bits, static_cast<std::int32_t>(input.in)};
  sink.put<std::int32_t>("rtn_meta", DType::i32, {meta.size()}, meta);
  if (input.granularity == ActivationGranularity::tensor)
    sink.put<float>("rtn_tensor_scale", DType::f32, {1}, input.scales);
  if (input.granularity == ActivationGranularity::channel)
    sink.put<float>("rtn_channel_scales", DType::f32, {input.in}, input.scales);
}

RtnInput Rtn::load_input(const PartSource& source) {
  const auto meta = values_of<std::int32_t>(source.get("rtn_meta", DType::i32, {5}));
  check_number(source, "rtn_meta", "weight bits", meta[0], 2, 8);
  check_number(source, "rtn_meta", "inputs", meta[4], 1, kMaxInputs);
  check_number(source, "rtn_meta", "inputs per weight scale", meta[1], 0, meta[4]);
  check_number(source, "rtn_meta", "the kind of scales", meta[2], 0, 2);
  if (meta[2] != 0)  // one scale has no groups, multipliers have some and 4 bits
    check_number(source, "rtn_meta", "inputs per weight scale", meta[1], meta[2] == 1 ? 0 : 1,
                 meta[2] == 1 ? 0 : meta[4]);
  if (meta[2] == 2) check_number(source, "rtn_meta", "weight bits", meta[0], 4, 4);
  if (meta[3] != kNotRounded) check_number(source, "rtn_meta", "activation bits", meta[3], 2, 8);
  RtnInput input;
  input.weight_bits = meta[0];
  input.group = static_cast<std::size_t>(meta[1]);
  input.weight_granularity = meta[2] == 2   ? WeightGranularity::multiplier
                             : meta[1] != 0 ? WeightGranularity::group
                             : meta[2] == 1 ? WeightGranularity::tensor
                                            : WeightGranularity::channel;
  input.activation_bits = meta[3];
  input.in = static_cast<std::size_t>(meta[4]);
  if (input.activation_bits == kNotRounded) return input;
  input.granularity = ActivationGranularity::token;
  if (source.find("rtn_tensor_scale")) {
    input.granularity = ActivationGranularity::tensor;
    input.scales = values_of<float>(source.get("rtn_tensor_scale", DType::f32, {1}));
    check_scales(source, "rtn_tensor_scale", input.scales);
  } else if (source.find("rtn_channel_scales")) {
    input.granularity = ActivationGranularity::channel;
    input.scales = values_of<float>(source.get("rtn_channel_scales", DType::f32, {input.in}));
    check_scales(source, "rtn_channel_scales", input.scales);
  }
  return input;
}

void Rtn::save(const Packed& packed, PartSink& sink) {
  save_symmetric(packed.weights, "rtn", sink);
}

RtnPacked Rtn::load(const Input& input, const PartSource& source) {
  return {load_symmetric(source, "rtn", input.in, input.weight_bits, input.weight_granularity,
                         input.group),
          {},
          {}};
}

double Rtn::activation_bits(const Input& input) {
  const bool own_step = input.granularity == ActivationGranularity::token;
  return input.activation_bits + (own_step ? 32.0 / static_cast<double>(input.in) : 0.0);
}

std::size_t Rtn::input_bytes(const Input& input) {
  return 5 * sizeof(std::int32_t) + input.scales.size() * sizeof(float);
}

InputRounding Rtn::rounding(const Input& input) {
  if (input.granularity == ActivationGranularity::none) return InputRounding::none;
  return is_static(input.granularity) ? InputRounding::by_position : InputRounding::by_row;
}

std::string Rtn::describe(const Input& input) {
  if (input.granularity == ActivationGranularity::none) return "not rounded";
  return fmt::format("a scale per {}, {} bits",
                     kActivationGranularities[static_cast<std::size_t>(input.granularity)],
                     input.activation_bits);
}

void Rtn::reference(const Input& input, const Packed& packed, const Rows& x, MatrixView<double> y) {
  const SymmetricCodes weights = expanded(unpack(packed));
  if (is_integer(input)) return reference_integers(input, weights, x, y);
  Matrix w(weights.shape.out, weights.shape.in);
  dequantize_symmetric(weights, w.view());
  Matrix rows(x.values.rows(), input.in);
  rounded(input, x, rows.view());
  reference_product(rows.view(), w.view(), y);
}

void Rtn::prepare(Input& input, Isa isa) {
  input.floats = &kernels::best_gemm_f32(isa);
  const bool multiplied = input.weight_granularity == WeightGranularity::multiplier;
  if (is_integer(input))
    input.rows = IntegerRows(rounding_of(input), isa,
                             {.bits = input.weight_bits,
                              .group = multiplied ? input.group : 0,
                              .stretch = stretch_of(input)});
}

void Rtn::prepare(const Input& input, Packed& packed, Isa) {
  const SymmetricBytes& weights = packed.weights;
  if (is_integer(input)) {
    std::vector<float> scales = weights.scales;
    if (input.weight_granularity == WeightGranularity::tensor)
      scales.resize(weights.shape.out, scales[0]);
    packed.integers = IntegerLinear(input.rows, {weights.shape,
                                                 weights.codes(),
                                                 scales,
                                                 {},
                                                 weights.multipliers,
                                                 input.rows.weights().group});
  } else {
    Matrix w(weights.shape.out, weights.shape.in);
    dequantize_symmetric(unpack(packed), w.view());
    packed.floats = kernels::PanelsF32(w.view());
  }
  packed.weights.bytes = {};
}

RtnRounded Rtn::round(const Input& input, const Rows& x, ThreadPool& pool) {
  RtnRounded out;
  if (is_integer(input)) {
    out.codes = input.rows.round(x, pool);
    return out;
  }
  out.rows = x.values;
  if (input.granularity == ActivationGranularity::none) return out;
  out.rounded = Matrix(x.values.rows(), input.in);
  const RowRounding rounding = rounding_of(input);
  pool.for_each_part(x.values.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t m = begin; m < end; ++m)
      round_per_channel(input, rounding, x, m, out.rounded.row(m));
  });
  out.rows = out.rounded.view();
  return out;
}

SiteCounts Rtn::counts(const Input& input, const Rows& x, const Rounded& rounded) {
  if (input.granularity != ActivationGranularity::tensor) return {};
  return {x.values.rows(), x.values.rows() * input.in, rounded.codes.clipped, 0};
}

void Rtn::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                 MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  if (is_integer(input))
    packed.integers.matmul(input.rows, rounded.codes, y, epilogue, pool);
  else
    kernels::gemm_f32(*input.floats, rounded.rows, packed.floats, epilogue.bias, y, pool);
}

std::string Rtn::kernel(const Input& input, const Packed& packed) {
  if (is_integer(input)) return packed.integers.kernel(input.rows);
  const std::string name = "gemm_f32 " + std::string(input.floats->name);
  return input.granularity == ActivationGranularity::channel
             ? name + " on rounded rows: scales per input channel allow no integer product"
             : name + " on dequantized weights";
}

}  // namespace tender::quant
