#include "quant/methods/gguf/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/contracts.h"
#include "base/error.h"
#include "base/kernel_choice.h"
#include "quant/float_product.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr int kNotRounded = 32;
constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;
constexpr std::size_t kBlock = kernels::PanelsBlocks::kBlock;
// Threads share the panels in pieces of so many: small ones for few rows, where two threads should
// have the same to read (192 outputs are 12 panels); whole tiles for many.
constexpr std::size_t kFewRows = 2;
constexpr std::size_t kPanelsOfFewRows = 2;
constexpr std::size_t kPanelsOfManyRows = 3;

std::size_t blocks_of(std::size_t in) { return (in + kBlock - 1) / kBlock; }
int highest_code(const GgufInput& input) { return (1 << (input.activation_bits - 1)) - 1; }

const BlockType& type_of(GgufType type) { return block_types()[static_cast<std::size_t>(type)]; }

bool has_own_scales(const BlockType& type) { return type.form == kernels::BlockScales::floats; }

/// A row's codes, steps and sums by the definition.
struct BlockedRow {
  explicit BlockedRow(std::size_t in)
      : codes(blocks_of(in) * kBlock), steps(blocks_of(in)), sums(2 * blocks_of(in)) {}
  void round(const GgufInput& input, std::span<const float> x) {
    kernels::round_blocks_kernels().back().run(x.data(), x.size(), highest_code(input),
                                               codes.data(), steps.data(), sums.data());
  }
  std::vector<std::int8_t> codes;
  std::vector<float> steps;
  std::vector<std::int32_t> sums;
};

/// Scales and codes of a type with float32 scales.
std::vector<BlockRow> search_symmetric(const BlockType& type, MatrixView<const float> w,
                                       const WeightSearchOptions& options,
                                       const SecondMoment* moment, ThreadPool& pool) {
  const SymmetricCodes found =
      search_weights(w, {type.bits, WeightGranularity::group, kBlock}, options, moment, pool);
  std::vector<BlockRow> rows(w.rows());
  for (std::size_t n = 0; n < w.rows(); ++n) {
    for (std::size_t k = 0; k < w.cols(); ++k)
      rows[n].codes.push_back(static_cast<std::uint8_t>(found.codes[n * w.cols() + k] + type.zero));
    for (std::size_t b = 0; b < blocks_of(w.cols()); ++b)
      rows[n].scales.push_back({found.scale(n, b * kBlock), 0, 1, 0});
  }
  return rows;
}

/// Codes chosen one input channel at a time under scales that are there. @param rows  every
/// output's, whose codes are overwritten
void compensate(const BlockType& type, MatrixView<const float> w, const Compensation& compensation,
                std::vector<BlockRow>& rows, ThreadPool& pool) {
  sweep_columns(
      compensation, w, w.cols(),
      [](const SweepColumns&, std::size_t, std::size_t, const double*) {},
      [&](const SweepColumns& columns, std::size_t channel, const double* values, double* rounded) {
        for (std::size_t i = 0; i < columns.outputs; ++i) {
          BlockRow& row = rows[columns.first_output + i];
          const kernels::BlockScale& scale = row.scales[channel / kBlock];
          row.codes[channel] = nearest_block_code(type, scale, values[i]);
          rounded[i] = block_weight(type, row, channel);
        }
      },
      pool);
}

/// Scales as ggml has them; codes as it has them, or compensated.
std::vector<BlockRow> search_blocks(const BlockType& type, MatrixView<const float> w,
                                    const WeightSearchOptions& options, const SecondMoment* moment,
                                    ThreadPool& pool) {
  std::vector<BlockRow> rows(w.rows());
  pool.for_each_part(w.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t n = begin; n < end; ++n) rows[n] = round_to_blocks(type, w.row(n));
  });
  if (options.weight_search == WeightSearch::rtn) return rows;
  const Compensation& compensation = compensation_of(moment, options);
  compensate(type, w, compensation, rows, pool);
  return rows;
}

}  // namespace

void settle(GgufOptions& options) {
  if (!has_own_scales(type_of(options.weight_type)) && options.weight_scale != WeightScale::max)
    refuse_option("gguf", "weight_scale", "mse",
                  "max, or a weight_type whose scales are not ggml's: symmetric-8, symmetric-4");
}

MethodTraits Gguf::traits() const {
  const bool rounds = options_.activation_granularity == BlockSteps::block;
  return {.inputs = rounds ? InputRounding::by_row : InputRounding::none,
          .wants_inputs = false,
          .wants_moment = options_.weight_search == WeightSearch::gptq,
          .first_row_share = options_.first_row_share,
          .idempotent = has_own_scales(type_of(options_.weight_type)) &&
                        options_.weight_search == WeightSearch::rtn &&
                        options_.weight_scale == WeightScale::max,
          .weight_bits = static_cast<double>(type_of(options_.weight_type).bits),
          .activation_bits = rounds ? static_cast<double>(options_.activation_bits) : kNotRounded};
}

GgufInput Gguf::input(const Calibration& seen, std::span<const MatrixView<const float>>) const {
  GgufInput input;
  input.in = seen.largest().size();
  if (options_.activation_granularity == BlockSteps::block)
    input.activation_bits = options_.activation_bits;
  return input;
}

void Gguf::rounded(const Input& input, const Rows& x, MatrixView<float> out) {
  BlockedRow row(input.in);
  for (std::size_t m = 0; m < x.values.rows(); ++m) {
    if (!input.rounds()) {
      std::ranges::copy(x.values.row(m), out.row(m).begin());
      continue;
    }
    row.round(input, x.values.row(m));
    for (std::size_t k = 0; k < input.in; ++k)
      out(m, k) = static_cast<float>(row.codes[k]) * row.steps[k / kBlock];
  }
}

BlockMatrix Gguf::quantize(MatrixView<const float> w, const Input& input,
                           const SecondMoment* moment, ThreadPool& pool) const {
  require(w.cols() == input.in, "weights are [out, in]");
  const BlockType& type = type_of(options_.weight_type);
  const std::vector<BlockRow> rows = has_own_scales(type)
                                         ? search_symmetric(type, w, options_, moment, pool)
                                         : search_blocks(type, w, options_, moment, pool);
  const std::size_t each = block_row_bytes(type, input.in);
  std::vector<std::byte> bytes(w.rows() * each);
  for (std::size_t n = 0; n < w.rows(); ++n)
    write_block_row(type, rows[n], std::span(bytes).subspan(n * each, each));
  return {type, {w.rows(), w.cols()}, std::move(bytes)};
}

void Gguf::dequantize(const Input&, const Packed& packed, MatrixView<float> w) {
  const BlockType& type = packed.weights.type();
  BlockRow row;
  for (std::size_t n = 0; n < w.rows(); ++n) {
    read_block_row(type, packed.weights.row(n), w.cols(), row);
    for (std::size_t k = 0; k < w.cols(); ++k) w(n, k) = block_weight(type, row, k);
  }
}

void Gguf::save_input(const Input& input, PartSink& sink) {
  const std::array<std::int32_t, 2> meta = {input.activation_bits,
                                            static_cast<std::int32_t>(input.in)};
  sink.put<std::int32_t>(part_of(kName, "meta"), DType::i32, {meta.size()}, meta);
}

GgufInput Gguf::load_input(const PartSource& source) {
  const std::string name = part_of(kName, "meta");
  const auto meta = values_of<std::int32_t>(source.get(name, DType::i32, {2}));
  if (meta[0] != kNotRounded && meta[0] != 4)
    check_number(source, name, "activation bits", meta[0], 8, 8);
  check_number(source, name, "inputs", meta[1], 1, kMaxInputs);
  GgufInput input;
  input.activation_bits = meta[0];
  input.in = static_cast<std::size_t>(meta[1]);
  return input;
}

void Gguf::save(const Packed& packed, PartSink& sink) {
  const BlockMatrix& weights = packed.weights;
  const auto [out, in] = weights.shape();
  const std::array<std::int32_t, 2> type = {weights.type().id, static_cast<std::int32_t>(in)};
  sink.put<std::int32_t>(part_of(kName, "type"), DType::i32, {type.size()}, type);
  sink.put(part_of(kName, "blocks"), DType::u8, {out, block_row_bytes(weights.type(), in)},
           weights.bytes());
}

GgufPacked Gguf::load(const Input& input, const PartSource& source) {
  const std::string name = part_of(kName, "type");
  const auto stored = values_of<std::int32_t>(source.get(name, DType::i32, {2}));
  check_number(source, name, "inputs", stored[1], static_cast<std::int64_t>(input.in),
               static_cast<std::int64_t>(input.in));
  const BlockType* type = find_block_type(std::int64_t{stored[0]});
  if (type == nullptr)
    refuse_part(source, name, "QC_RANGE", fmt::format("type {}", stored[0]),
                "the number of a GGUF type in blocks of 32, or of a symmetric type");
  const std::string blocks = part_of(kName, "blocks");
  const Part part = get_ranked(source, blocks, DType::u8, 2);
  const std::size_t each = block_row_bytes(*type, input.in);
  if (part.shape[1] != each)
    refuse_part(source, blocks, "CK_PART_SHAPE", fmt::format("rows of {} bytes", part.shape[1]),
                fmt::format("{} for {} inputs", each, input.in));
  std::vector<const std::byte*> rows;
  rows.reserve(part.shape[0]);
  for (std::size_t n = 0; n < part.shape[0]; ++n) rows.push_back(part.bytes.data() + n * each);
  GgufPacked packed;
  packed.weights = {*type, {part.shape[0], input.in}, std::move(rows)};
  BlockRow row;
  for (std::size_t n = 0; n < part.shape[0]; ++n) {
    read_block_row(*type, packed.weights.row(n), input.in, row);
    for (const kernels::BlockScale& scale : row.scales)
      if (!std::isfinite(scale.scale) || !std::isfinite(scale.minimum) ||
          (has_own_scales(*type) && scale.scale <= 0))
        refuse_part(source, blocks, "QC_SCALE", fmt::format("a scale of {}", scale.scale),
                    has_own_scales(*type) ? "finite numbers above 0" : "finite numbers");
  }
  return packed;
}

std::size_t Gguf::bytes(const Packed& packed) {
  const BlockMatrix& weights = packed.weights;
  return 2 * sizeof(std::int32_t) +
         weights.shape().out * block_row_bytes(weights.type(), weights.shape().in);
}

double Gguf::activation_bits(const Input& input) {
  if (!input.rounds()) return kNotRounded;
  return input.activation_bits +
         32.0 * static_cast<double>(blocks_of(input.in)) / static_cast<double>(input.in);
}

InputRounding Gguf::rounding(const Input& input) {
  return input.rounds() ? InputRounding::by_row : InputRounding::none;
}

std::string Gguf::describe(const Input& input) {
  return input.rounds() ? fmt::format("blocks of {}, {} bits", kBlock, input.activation_bits)
                        : std::string("float32 rows");
}

void Gguf::reference(const Input& input, const Packed& packed, const Rows& x,
                     MatrixView<double> y) {
  const BlockMatrix& weights = packed.weights;
  Matrix w(weights.shape().out, input.in), rows(x.values.rows(), input.in);
  dequantize(input, packed, w.view());
  rounded(input, x, rows.view());
  reference_product(rows.view(), w.view(), y);
}

void Gguf::prepare(Input& input, Isa isa) {
  input.round = &best_kernel(kernels::round_blocks_kernels(), isa);
  input.gemm = &best_kernel(kernels::gemm_blocks_kernels(), isa);
  input.floats = &kernels::best_gemm_f32(isa);
}

void Gguf::prepare(const Input& input, Packed& packed, Isa) {
  BlockMatrix& weights = packed.weights;
  if (!input.rounds()) {
    Matrix w(weights.shape().out, weights.shape().in);
    dequantize(input, packed, w.view());
    packed.floats = kernels::PanelsF32(w.view());
  } else {
    const BlockType& type = weights.type();
    packed.panels = kernels::PanelsBlocks(weights.shape(), type.bits, type.zero, type.form);
    BlockRow row;
    for (std::size_t n = 0; n < weights.shape().out; ++n) {
      read_block_row(type, weights.row(n), weights.shape().in, row);
      packed.panels.put(n, row.codes, row.scales);
    }
  }
  weights.forget_rows();
}

GgufRounded Gguf::round(const Input& input, const Rows& x, ThreadPool& pool) {
  GgufRounded out;
  out.rows = x.values;
  if (!input.rounds()) return out;
  const std::size_t rows = x.values.rows(), blocks = blocks_of(input.in);
  out.stride = (blocks * kBlock + 63) / 64 * 64;
  out.codes = AlignedBuffer<std::int8_t>(rows * out.stride);
  out.steps = AlignedBuffer<float>(rows * blocks);
  out.sums = AlignedBuffer<std::int32_t>(2 * rows * blocks);
  pool.for_each_part(rows, [&](std::size_t begin, std::size_t end) {
    std::vector<float> made(x.make == nullptr ? 0 : input.in);
    for (std::size_t m = begin; m < end; ++m)
      input.round->run(x.row(m, made).data(), input.in, highest_code(input),
                       out.codes.data() + m * out.stride, out.steps.data() + m * blocks,
                       out.sums.data() + 2 * m * blocks);
  });
  return out;
}

void Gguf::matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                  MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool) {
  if (!input.rounds())
    return kernels::gemm_f32(*input.floats, rounded.rows, packed.floats, epilogue.bias, y, pool);
  const kernels::PanelsBlocks& panels = packed.panels;
  const kernels::GemmBlocksJob job{
      .codes = rounded.codes.data(),
      .stride = rounded.stride,
      .rows = y.rows(),
      .steps = rounded.steps.data(),
      .sums = rounded.sums.data(),
      .panels = panels.data(),
      .panel_bytes = panels.panel_bytes(),
      .scales = panels.scales(),
      .panel_scale_bytes = panels.panel_scale_bytes(),
      .blocks = panels.blocks(),
      .bits = panels.bits(),
      .zero = panels.zero(),
      .form = panels.form(),
      .out = panels.shape().out,
      .bias = epilogue.bias.empty() ? nullptr : epilogue.bias.data(),
      .y = y.data(),
      .y_stride = y.stride(),
  };
  const std::size_t at_once = y.rows() <= kFewRows ? kPanelsOfFewRows : kPanelsOfManyRows;
  pool.for_each_part(panels.panels(), at_once,
                     [&](std::size_t begin, std::size_t end) { input.gemm->run(job, begin, end); });
}

std::string Gguf::kernel(const Input& input, const Packed& packed) {
  const std::string_view type = packed.weights.type().name;
  if (!input.rounds()) return fmt::format("gemm_f32 {} on {} weights", input.floats->name, type);
  const BlockType& stored = packed.weights.type();
  const std::string_view form = stored.bits == stored.stored_bits ? "as stored" : "in bytes";
  return fmt::format("gemm_blocks {}, {} {}", input.gemm->name, type, form);
}

void Gguf::read_row(const Packed& packed, std::size_t output, std::span<float> w) {
  if (packed.floats.bytes() == 0) return packed.panels.take(output, w);
  packed.floats.take(output, MatrixView<float>(w.data(), 1, w.size()));
}

std::unique_ptr<PackedSite> site_of_blocks(std::vector<BlockMatrix> layers, int activation_bits) {
  require(!layers.empty(), "a site has layers");
  GgufInput input;
  input.in = layers.front().shape().in;
  input.activation_bits = activation_bits;
  std::vector<GgufPacked> packed;
  for (BlockMatrix& layer : layers) packed.push_back({std::move(layer), {}, {}});
  return std::make_unique<PackedSiteOf<Gguf>>(std::move(input), std::move(packed));
}

}  // namespace tender::quant
