#include "quant/methods/tender/tender_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/methods/tender/tender_calibration.h"
#include "quant/methods/tender/tender_compat.h"
#include "quant/options.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

constexpr int kStaticChunk = 256;  // tender.md 2.3
constexpr std::size_t kMeta = 9;
constexpr std::size_t kLongMeta = 11;
constexpr std::size_t kOldMeta = 6;  // without what weight multipliers and one-row mode brought
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 20;
constexpr std::int64_t kMaxInputs = std::int64_t{1} << 20;

/// 2^n exactly, for normal results.
float power_of_two(int n) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(127 + n) << 23U);
}

/// Statistics of a chunk that no row fell into are those of the last chunk before it that has rows.
std::size_t chunk_with_rows(const TenderCalibration& seen, std::size_t chunk) {
  while (chunk > 0 && seen.rows(chunk) == 0) --chunk;
  return chunk;
}

void add_chunk(const TenderChunk& chunk, TenderInput& input) {
  input.tmax.push_back(chunk.tmax);
  input.bias.insert(input.bias.end(), chunk.bias.begin(), chunk.bias.end());
  input.group.insert(input.group.end(), chunk.group.begin(), chunk.group.end());
}

/// Whether scales come from the chunk's rows, or are the calibrated ones.
bool by_chunk(TenderMode mode) {
  return mode == TenderMode::static_scales || mode == TenderMode::dynamic;
}

int default_groups(const TenderOptions& options) { return options.activation_bits == 8 ? 8 : 14; }

void settle_one_row(TenderOptions& options) {
  const int most = tender_most_element_groups(options.activation_bits);
  if (options.groups == 0) options.groups = std::min(default_groups(options), most);
  if (options.groups > most)
    refuse_option(
        "tender", "groups", std::to_string(options.groups),
        fmt::format("at most {} in one-row mode with {} activation bits: operands have 16", most,
                    options.activation_bits));
  if (options.chunk_rows > 0)
    refuse_option("tender", "chunk_rows", std::to_string(options.chunk_rows),
                  "0 in one-row mode: rows share no metadata");
  options.chunk_rows = 0;
}

void check_tmax(const PartSource& source, const TenderInput& input) {
  for (std::size_t c = 0; c < input.tmax.size(); ++c) {
    const float tmax = input.tmax[c];
    const float least = input.mode == TenderMode::row_scaled ? RowRounding::kTinyPeak : 0.0F;
    if (!(std::isfinite(tmax) && tmax >= least))
      refuse_part(source, "tender_tmax", "QC_SCALE", fmt::format("TMax of chunk {} is {}", c, tmax),
                  "finite values above 0");
  }
}

/// All but what each chunk has; `in` is 0 where the file is older than that number.
TenderInput load_meta(const PartSource& source) {
  const std::uint64_t size = get_ranked(source, "tender_meta", DType::i32, 1).shape[0];
  const auto meta = values_of<std::int32_t>(source.get(
      "tender_meta", DType::i32, {size == kOldMeta || size == kLongMeta ? size : kMeta}));
  const int modes = size == kOldMeta ? 2
                    : size == kMeta  ? static_cast<int>(TenderMode::dynamic)
                                     : static_cast<int>(TenderMode::automatic);
  check_number(source, "tender_meta", "weight bits", meta[0], 2, 8);
  check_number(source, "tender_meta", "activation bits", meta[1], 2, 8);
  check_number(source, "tender_meta", "mode", meta[4], 0, modes - 1);
  check_number(source, "tender_meta", "unsigned", meta[5], 0, 1);
  TenderInput input;
  input.weight_bits = meta[0];
  input.activation_bits = meta[1];
  input.mode = static_cast<TenderMode>(meta[4]);
  input.is_unsigned = meta[5] == 1;
  const bool elements = input.mode == TenderMode::one_row;
  check_number(source, "tender_meta", "groups", meta[2], 1,
               elements ? tender_most_element_groups(meta[1]) : TenderOptions::kMaxGroups);
  check_number(source, "tender_meta", "positions per chunk", meta[3], 0,
               elements ? 0 : kMaxPositions);
  input.groups = meta[2];
  input.chunk_rows = static_cast<std::size_t>(meta[3]);
  if (size == kOldMeta) return input;
  check_number(source, "tender_meta", "inputs", meta[6], 1, kMaxInputs);
  check_number(source, "tender_meta", "inputs per multiplier", meta[7], 0, meta[0] == 4 ? 128 : 0);
  input.in = static_cast<std::size_t>(meta[6]);
  if (meta[7] != 0 && meta[7] != 32 && meta[7] != 64 && meta[7] != 128)
    refuse_part(source, "tender_meta", "QC_RANGE", fmt::format("{} inputs per multiplier", meta[7]),
                "0, 32, 64 or 128");
  input.multiplier_group = static_cast<std::size_t>(meta[7]);
  check_number(source, "tender_meta", "rotated", meta[8], 0, 1);
  input.rotated = meta[8] == 1;
  if (size == kMeta) return input;
  const bool dynamic = input.mode == TenderMode::dynamic;
  check_number(source, "tender_meta", "compat numerics", meta[10], dynamic ? 0 : 1,
               by_chunk(input.mode) ? 1 : 0);
  input.compat = meta[10] == 1;
  check_number(source, "tender_meta", "the bias of chunks", meta[9], 0,
               dynamic && !input.is_unsigned ? 1 : 0);
  input.dynamic_bias = meta[9] == 1;
  return input;
}

void load_chunks(const PartSource& source, TenderInput& input) {
  Shape shape = get_ranked(source, "tender_groups", DType::u8, 2).shape;
  if (input.in == 0) input.in = shape[1];
  shape[1] = input.in;
  input.group = values_of<std::uint8_t>(source.get("tender_groups", DType::u8, shape));
  check_number(source, "tender_groups", "the number of chunks", static_cast<std::int64_t>(shape[0]),
               1, input.chunk_rows == 0 ? 1 : kMaxPositions);
  input.tmax = values_of<float>(source.get("tender_tmax", DType::f32, {shape[0]}));
  if (source.find("tender_bias"))
    input.bias = values_of<float>(source.get("tender_bias", DType::f32, shape));
  for (const std::uint8_t i : input.group)
    if (i >= input.groups)
      refuse_part(source, "tender_groups", "QC_GIDX", fmt::format("group {}", i),
                  fmt::format("groups below {}", input.groups));
  check_tmax(source, input);
  check_finite(source, "tender_bias", input.bias);
}

}  // namespace

int tender_most_element_groups(int activation_bits) {
  int groups = 1;  // unsigned codes, the longer ones, decide for both
  while ((((1 << activation_bits) - 1) << groups) <= std::numeric_limits<std::int16_t>::max())
    ++groups;
  return groups;
}

void settle(TenderOptions& options) {
  if (options.mode == TenderMode::one_row) settle_one_row(options);
  if (options.groups == 0) options.groups = default_groups(options);
  if (options.chunk_rows == TenderOptions::kByMode)
    options.chunk_rows = by_chunk(options.mode) ? kStaticChunk : 0;
  if (options.rotation == TenderRotation::automatic &&
      (options.mode == TenderMode::one_row || options.mode == TenderMode::dynamic))
    refuse_option("tender", "rotation", "auto",
                  "none or hadamard in modes one-row and dynamic, which see no rows before");
  if (options.rotation == TenderRotation::automatic && options.numerics == TenderNumerics::compat)
    refuse_option("tender", "rotation", "auto", "none or hadamard with compat numerics");
  if (options.rounding != TenderRounding::up && options.mode != TenderMode::static_scales &&
      options.mode != TenderMode::automatic)
    refuse_option("tender", "rounding",
                  std::string(kTenderRoundings[static_cast<std::size_t>(options.rounding)]),
                  "up in modes other than static and auto: nothing is clipped there");
  if (options.numerics == TenderNumerics::compat && !by_chunk(options.mode))
    refuse_option("tender", "numerics", "compat",
                  "clean outside of modes static and dynamic: the released code has no other");
  if (options.bias == TenderBias::dynamic && options.mode != TenderMode::dynamic)
    refuse_option("tender", "bias", "dynamic", "by-mode or none outside of mode dynamic");
  const int group = options.multiplier_group;
  if (group != 0 && group != 32 && group != 64 && group != 128)
    refuse_option("tender", "multiplier_group", std::to_string(group), "0, 32, 64 or 128");
  if (group != 0 && options.weight_bits != 4)
    refuse_option("tender", "multiplier_group", std::to_string(group),
                  "0, since a multiplier of 8-bit codes would not fit 8 bits");
}

std::size_t TenderInput::bytes() const {
  return (mode == TenderMode::dynamic || compat ? kLongMeta : kMeta) * sizeof(std::int32_t) +
         (tmax.size() + bias.size()) * sizeof(float) + group.size();
}

std::uint8_t tender_group(float cmax, float tmax, int groups) {
  for (int i = groups - 1; i > 0; --i)
    if (cmax > tmax * power_of_two(i - groups))
      return static_cast<std::uint8_t>(i);  // above T_(i-1)
  return 0;
}

TenderInput tender_input_of(const TenderCalibration& seen, const TenderOptions& options,
                            TenderMode mode) {
  require(mode != TenderMode::automatic, "a site has one of the modes");
  require(options.rotation != TenderRotation::automatic, "a site has one of the bases");
  require(mode != TenderMode::static_scales || options.rounding != TenderRounding::choose,
          "a site is rounded up or down");
  const bool rotated = options.rotation == TenderRotation::hadamard;
  const bool nonnegative = seen.nonnegative() && !rotated;
  TenderInput input;
  input.in = seen.in();
  input.weight_bits = options.weight_bits;
  input.activation_bits = options.activation_bits;
  input.groups = options.groups;
  input.mode = mode;
  input.is_unsigned = nonnegative;
  input.multiplier_group = static_cast<std::size_t>(options.multiplier_group);
  input.rotated = rotated;
  input.compat = options.numerics == TenderNumerics::compat;
  if (mode == TenderMode::dynamic) {
    input.chunk_rows = seen.chunk_rows();
    input.dynamic_bias = options.bias == TenderBias::dynamic && seen.centre() && !nonnegative;
    return input;
  }
  if (mode == TenderMode::one_row) {
    input.groups = std::min(input.groups, tender_most_element_groups(options.activation_bits));
    return input;
  }
  if (seen.chunks() == 0)
    fail(ErrorKind::invalid_input,
         {.code = "Q_CALIBRATION", .hint = "give a text with --calibration"},
         "tender takes ranges and groups of channels from calibration rows, and saw none");
  input.chunk_rows = seen.chunk_rows();
  const bool centred = seen.centre() && !nonnegative && options.bias == TenderBias::by_mode;
  for (std::size_t c = 0; c < seen.chunks(); ++c) {
    const std::size_t from = chunk_with_rows(seen, c);
    TenderChunk chunk = input.compat ? seen.compat().chunk(input, from)
                                     : tender_chunk(input, seen.least(from, rotated),
                                                    seen.largest(from, rotated), centred);
    if (!centred) chunk.bias.clear();
    add_chunk(chunk, input);
  }
  const bool down = mode == TenderMode::static_scales && options.rounding == TenderRounding::down;
  for (std::uint8_t& i : input.group)
    if (down && i > 0) --i;
  return input;
}

WeightFormat tender_weight_format(const TenderInput& input) {
  const bool multiplied = input.multiplier_group != 0;
  return {.bits = input.weight_bits,
          .granularity = multiplied ? WeightGranularity::multiplier : WeightGranularity::channel,
          .group = input.multiplier_group};
}

int tender_highest_code(const TenderInput& input) {
  return input.is_unsigned ? (1 << input.activation_bits) - 1
                           : (1 << (input.activation_bits - 1)) - 1;
}

TenderChunk tender_chunk(const TenderInput& input, std::span<const float> least,
                         std::span<const float> largest, bool centred) {
  TenderChunk chunk;
  std::vector<float> cmax(input.in);
  for (std::size_t k = 0; k < input.in; ++k) {
    // halves first: the sum of two large numbers might not be finite
    const float bias = centred ? 0.5F * largest[k] + 0.5F * least[k] : 0.0F;
    if (centred) chunk.bias.push_back(bias);
    cmax[k] = input.is_unsigned ? std::max(largest[k], 0.0F)
                                : std::max(largest[k] - bias, bias - least[k]);
  }
  chunk.tmax = *std::max_element(cmax.begin(), cmax.end());
  if (chunk.tmax < RowRounding::kTinyPeak) {
    // only zeros were seen: codes are 0, unless rows bring their scale
    chunk.tmax = input.mode == TenderMode::row_scaled
                     ? static_cast<float>(tender_highest_code(input))
                     : 0.0F;
    std::fill(cmax.begin(), cmax.end(), 0.0F);
  }
  for (const float value : cmax)
    chunk.group.push_back(input.compat ? compat_group(value, chunk.tmax, input.groups)
                                       : tender_group(value, chunk.tmax, input.groups));
  return chunk;
}

ChunkRounding tender_chunk_rounding(const TenderInput& input, float tmax,
                                    std::span<const float> bias,
                                    std::span<const std::uint8_t> group) {
  const auto lowest = *std::min_element(group.begin(), group.end());
  const auto high = static_cast<float>(tender_highest_code(input));
  const bool dead = tmax < RowRounding::kTinyPeak;
  ChunkRounding rounding;
  rounding.bias.assign(bias.begin(), bias.end());
  rounding.unit = dead ? 0.0F : tmax / high * power_of_two(lowest + 1 - input.groups);
  for (const std::uint8_t i : group) {
    rounding.shift.push_back(static_cast<std::uint8_t>(i - lowest));
    rounding.multiplier.push_back(dead ? 0.0F : high / tmax * power_of_two(input.groups - 1 - i));
  }
  return rounding;
}

RowRounding tender_rounding(const TenderInput& input) {
  RowRounding rounding{.in = input.in,
                       .low = input.is_unsigned ? 0 : -tender_highest_code(input) - 1,
                       .high = tender_highest_code(input),
                       .by_row = !by_chunk(input.mode),
                       .element_groups = 0,
                       .chunk_rows = input.chunk_rows,
                       .chunks = {},
                       .chunk_groups = 0};
  for (std::size_t c = 0; c < input.chunks(); ++c) {
    const std::size_t at = c * input.in;
    rounding.chunks.push_back(tender_chunk_rounding(
        input, input.tmax[c],
        input.bias.empty() ? std::span<const float>() : std::span(input.bias).subspan(at, input.in),
        std::span(input.group).subspan(at, input.in)));
  }
  if (input.mode == TenderMode::dynamic) {
    rounding.chunk_rows = 0;
    rounding.chunk_groups = input.groups;
    rounding.chunks.emplace_back().shift.assign(input.in,
                                                static_cast<std::uint8_t>(input.groups - 1));
  }
  if (input.mode == TenderMode::one_row) {
    rounding.element_groups = input.groups;
    rounding.chunks.emplace_back().unit = power_of_two(1 - input.groups);
  }
  return rounding;
}

std::string describe_tender_input(const TenderInput& input) {
  std::string text =
      fmt::format("{}, {} group{}", kTenderModes[static_cast<std::size_t>(input.mode)],
                  input.groups, input.groups == 1 ? "" : "s");
  if (input.mode == TenderMode::one_row)
    text += fmt::format(", operands of {} bits", input.activation_bits + input.groups - 1);
  if (input.mode == TenderMode::dynamic && input.chunk_rows != 0)
    text += fmt::format(", chunks of {} positions", input.chunk_rows);
  else if (input.chunk_rows != 0)
    text += fmt::format(", {} chunks of {} positions", input.chunks(), input.chunk_rows);
  if (input.compat) text += ", compat numerics";
  if (input.dynamic_bias) text += ", bias of the chunk";
  if (input.rotated) text += ", rotated";
  return text;
}

void save_tender_input(const TenderInput& input, PartSink& sink) {
  const std::array<std::int32_t, kLongMeta> meta = {
      input.weight_bits,
      input.activation_bits,
      input.groups,
      static_cast<std::int32_t>(input.chunk_rows),
      static_cast<std::int32_t>(input.mode),
      input.is_unsigned ? 1 : 0,
      static_cast<std::int32_t>(input.in),
      static_cast<std::int32_t>(input.multiplier_group),
      input.rotated ? 1 : 0,
      input.dynamic_bias ? 1 : 0,
      input.compat ? 1 : 0};
  const bool longer = input.mode == TenderMode::dynamic || input.compat;
  const std::size_t count = longer ? kLongMeta : kMeta;
  sink.put<std::int32_t>("tender_meta", DType::i32, {count}, std::span(meta).first(count));
  if (!input.calibrated()) return;
  sink.put<float>("tender_tmax", DType::f32, {input.chunks()}, input.tmax);
  if (!input.bias.empty())
    sink.put<float>("tender_bias", DType::f32, {input.chunks(), input.in}, input.bias);
  sink.put<std::uint8_t>("tender_groups", DType::u8, {input.chunks(), input.in}, input.group);
}

TenderInput load_tender_input(const PartSource& source) {
  TenderInput input = load_meta(source);
  if (input.calibrated()) load_chunks(source, input);
  return input;
}

}  // namespace tender::quant
