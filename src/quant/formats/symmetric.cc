#include "quant/formats/symmetric.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/parts.h"
#include "tensor/largest.h"

namespace tender::quant {
namespace {

constexpr int kNibbleBits = 4;

std::size_t row_bytes(const LinearShape& shape, int bits) {
  return bits <= kNibbleBits ? (shape.in + 1) / 2 : shape.in;
}

std::int8_t nibble(std::uint8_t byte, bool high) {
  return static_cast<std::int8_t>(static_cast<std::int8_t>(high ? byte : byte << 4U) >> 4);
}

void check_codes(const PartSource& source, const std::string& name, const SymmetricBytes& packed) {
  const int high = highest_weight_code(packed.bits);
  const auto check = [&](int code) { check_number(source, name, "a code", code, -high - 1, high); };
  // All bytes are codes, or pairs of codes, where the codes fill them.
  if (packed.bits > kNibbleBits) {
    if (packed.bits == 8) return;
    for (const std::uint8_t byte : packed.bytes.span()) check(static_cast<std::int8_t>(byte));
    return;
  }
  if (packed.bits < kNibbleBits)
    for (const std::uint8_t byte : packed.bytes.span()) {
      check(nibble(byte, false));
      check(nibble(byte, true));
    }
  for (std::size_t n = 0; packed.shape.in % 2 == 1 && n < packed.shape.out; ++n)
    check_number(source, name, "the nibble past a row", nibble(packed.codes().row(n).back(), true),
                 0, 0);
}

/// Whether one of the codes [begin, end) of a row is this one.
bool holds(std::span<const std::uint8_t> row, int bits, int code, std::size_t begin,
           std::size_t end) {
  if (bits > kNibbleBits) return std::memchr(row.data() + begin, code, end - begin) != nullptr;
  if (begin < end && begin % 2 == 1 && nibble(row[begin / 2], true) == code) return true;
  // A nibble of `word` is 0 where a code is this one; the borrow past it no longer matters.
  constexpr std::uint64_t kOnes = 0x1111111111111111U;
  const std::uint64_t all = kOnes * (static_cast<std::uint64_t>(code) & 15U);
  std::uint64_t found = 0;
  std::size_t at = (begin + 1) / 2;
  for (; at + sizeof all <= end / 2; at += sizeof all) {
    std::uint64_t word = 0;
    std::memcpy(&word, row.data() + at, sizeof word);
    word ^= all;
    found |= (word - kOnes) & ~word & kOnes << 3U;
  }
  for (; at < end / 2; ++at)
    if (nibble(row[at], false) == code || nibble(row[at], true) == code) return true;
  return found != 0 || (end % 2 == 1 && nibble(row[end / 2], false) == code);
}

std::size_t groups_of(std::size_t in, std::size_t group) { return (in + group - 1) / group; }

/// Multipliers from 1 on whose products with the codes are codes of 8 bits.
void check_multipliers(const PartSource& source, const std::string& name,
                       const SymmetricBytes& packed) {
  const int highest = highest_multiplier(packed.bits);
  std::uint8_t least = 255, most = 0;
  for (const std::uint8_t multiplier : packed.multipliers) {
    least = std::min(least, multiplier);
    most = std::max(most, multiplier);
  }
  check_number(source, name, "a multiplier", least, 1, highest);
  check_number(source, name, "a multiplier", most, 1, highest);
  // Which leaves the one code that is larger than the highest.
  const int lowest = -highest_weight_code(packed.bits) - 1;
  const auto [out, in] = packed.shape;
  const CodesView codes = packed.codes();
  const std::size_t groups = groups_of(in, packed.group);
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t g = 0; g < groups; ++g) {
      const int product = lowest * packed.multipliers[n * groups + g];
      if (product >= -127) continue;
      const std::size_t first = g * packed.group;
      if (holds(codes.row(n), packed.bits, lowest, first, std::min(first + packed.group, in)))
        check_number(source, name, "a code times its multiplier", product, -127, 127);
    }
}

Shape scales_shape(const SymmetricBytes& packed) {
  if (packed.group != 0 && packed.multipliers.empty())
    return {packed.shape.out, groups_of(packed.shape.in, packed.group)};
  return {packed.scales.size()};
}

}  // namespace

CodesView::CodesView(std::span<const std::uint8_t> bytes, std::size_t in, int bits)
    : bytes_(bytes), in_(in), pairs_(bits <= kNibbleBits) {
  require(bytes.size() % row_bytes() == 0, "rows of codes are whole");
}

std::size_t SymmetricBytes::payload() const {
  return shape.out * row_bytes(shape, bits) + scales.size() * sizeof(float) + multipliers.size();
}

int highest_weight_code(int bits) { return (1 << (bits - 1)) - 1; }

int highest_multiplier(int bits) { return 127 / highest_weight_code(bits); }

float scale_of_largest(float largest, int high) {
  if (largest < kTinyWeight) return 1;
  const auto by = static_cast<float>(high);
  float scale = largest / by;
  while (!std::isfinite(scale * by))  // the largest floats: one step down
    scale = std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) - 1);
  for (float again = scale * by / by; again != scale; again = scale * by / by) scale = again;
  return scale;
}

SymmetricCodes expanded(SymmetricCodes codes) {
  if (codes.multipliers.empty()) return codes;
  const auto [out, in] = codes.shape;
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t k = 0; k < in; ++k)
      codes.codes[n * in + k] =
          static_cast<std::int8_t>(codes.codes[n * in + k] * codes.multiplier(n, k));
  codes.bits = 8;
  codes.group = 0;
  codes.multipliers.clear();
  return codes;
}

SymmetricCodes quantize_symmetric(MatrixView<const float> w, int bits,
                                  WeightGranularity granularity, std::size_t group) {
  const std::size_t in = w.cols();
  const int high = highest_weight_code(bits);
  SymmetricCodes out{
      {w.rows(), in}, bits, granularity == WeightGranularity::group ? group : 0, {}, {}};
  require(granularity != WeightGranularity::multiplier, "multipliers are searched for");
  require(granularity != WeightGranularity::group || group > 0, "a group has inputs");
  out.codes.resize(w.rows() * in);
  if (granularity == WeightGranularity::tensor)
    out.scales.push_back(scale_of_largest(largest_magnitude(w), high));
  const std::size_t width = out.group == 0 ? in : out.group;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t begin = 0; begin < in; begin += width) {
      const auto part = w.row(n).subspan(begin, std::min(width, in - begin));
      if (granularity != WeightGranularity::tensor)
        out.scales.push_back(
            scale_of_largest(largest_magnitude({part.data(), 1, part.size()}), high));
      for (std::size_t k = 0; k < part.size(); ++k)
        out.codes[n * in + begin + k] =
            static_cast<std::int8_t>(nearest_weight_code(part[k], out.scales.back(), high));
    }
  return out;
}

SymmetricBytes pack_symmetric(const SymmetricCodes& codes) {
  SymmetricBytes packed{codes.shape, codes.bits, codes.group, {}, codes.scales, codes.multipliers};
  const auto [out, in] = codes.shape;
  if (codes.bits > kNibbleBits) {
    packed.bytes = KeptBytes({codes.codes.begin(), codes.codes.end()});
    return packed;
  }
  std::vector<std::uint8_t> bytes(out * row_bytes(codes.shape, codes.bits));
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t k = 0; k < in; ++k) {
      const unsigned code = static_cast<unsigned>(codes.codes[n * in + k]) & 15U;
      std::uint8_t& byte = bytes[n * row_bytes(codes.shape, codes.bits) + k / 2];
      byte = static_cast<std::uint8_t>(byte | code << (k % 2 * 4));
    }
  packed.bytes = KeptBytes(std::move(bytes));
  return packed;
}

SymmetricCodes unpack_symmetric(const SymmetricBytes& packed) {
  const auto [out, in] = packed.shape;
  const std::span<const std::uint8_t> bytes = packed.bytes.span();
  require(bytes.size() == out * row_bytes(packed.shape, packed.bits),
          "the bytes were not moved yet");
  SymmetricCodes codes{packed.shape, packed.bits,   packed.group,
                       {},           packed.scales, packed.multipliers};
  codes.codes.resize(out * in);
  if (packed.bits > kNibbleBits) {
    std::copy(bytes.begin(), bytes.end(), codes.codes.begin());
    return codes;
  }
  for (std::size_t n = 0; n < out; ++n) {
    const std::uint8_t* row = bytes.data() + n * row_bytes(packed.shape, packed.bits);
    std::int8_t* to = codes.codes.data() + n * in;
    for (std::size_t pair = 0; pair < in / 2; ++pair) {
      to[2 * pair] = nibble(row[pair], false);
      to[2 * pair + 1] = nibble(row[pair], true);
    }
    if (in % 2 == 1) to[in - 1] = nibble(row[in / 2], false);
  }
  return codes;
}

void dequantize_symmetric(const SymmetricCodes& codes, MatrixView<float> w) {
  const auto [out, in] = codes.shape;
  require(w.rows() == out && w.cols() == in, "w is [out, in]");
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t k = 0; k < in; ++k)
      w(n, k) =
          static_cast<float>(codes.codes[n * in + k] * codes.multiplier(n, k)) * codes.scale(n, k);
}

void save_symmetric(const SymmetricBytes& packed, std::string_view prefix, PartSink& sink) {
  const bool nibbles = packed.bits <= kNibbleBits;
  sink.put(std::string(prefix) + "_codes", nibbles ? DType::u8 : DType::i8,
           {packed.shape.out, row_bytes(packed.shape, packed.bits)},
           std::as_bytes(packed.bytes.span()));
  sink.put<float>(std::string(prefix) + "_scales", DType::f32, scales_shape(packed), packed.scales);
  if (!packed.multipliers.empty())
    sink.put<std::uint8_t>(std::string(prefix) + "_multipliers", DType::u8,
                           {packed.shape.out, groups_of(packed.shape.in, packed.group)},
                           packed.multipliers);
}

SymmetricBytes load_symmetric(const PartSource& source, std::string_view prefix, std::size_t in,
                              int bits, WeightGranularity granularity, std::size_t group) {
  const std::string codes_name = std::string(prefix) + "_codes";
  const std::string scales_name = std::string(prefix) + "_scales";
  const DType type = bits <= kNibbleBits ? DType::u8 : DType::i8;
  const std::uint64_t out = get_ranked(source, codes_name, type, 2).shape[0];
  const bool grouped =
      granularity == WeightGranularity::group || granularity == WeightGranularity::multiplier;
  SymmetricBytes packed{{out, in}, bits, grouped ? group : 0, {}, {}};
  packed.bytes =
      KeptBytes::of(source.get(codes_name, type, {out, row_bytes(packed.shape, bits)}).bytes);
  const Shape shape = granularity == WeightGranularity::tensor  ? Shape{1}
                      : granularity == WeightGranularity::group ? Shape{out, groups_of(in, group)}
                                                                : Shape{out};
  packed.scales = values_of<float>(source.get(scales_name, DType::f32, shape));
  check_codes(source, codes_name, packed);
  check_scales(source, scales_name, packed.scales);
  if (granularity != WeightGranularity::multiplier) return packed;
  const std::string multipliers_name = std::string(prefix) + "_multipliers";
  packed.multipliers =
      values_of<std::uint8_t>(source.get(multipliers_name, DType::u8, {out, groups_of(in, group)}));
  check_multipliers(source, multipliers_name, packed);
  return packed;
}

}  // namespace tender::quant
