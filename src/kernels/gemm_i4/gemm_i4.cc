#include "kernels/gemm_i4/gemm_i4.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/contracts.h"
#include "kernels/gemm_i8/store_scalar.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kWidth = PanelsI4::kWidth;
constexpr std::size_t kLineInputs = PanelsI4::kLineInputs;
constexpr std::size_t kLineBytes = PanelsI4::kLineBytes;
constexpr std::size_t kQuad = PanelsI8::kQuad;

/// Nibble of channel 8 line + slot as it is stored, code + 8.
std::uint8_t nibble(const std::uint8_t* line, std::size_t output, std::size_t slot) {
  const std::uint8_t byte = line[output * kQuad + slot % kQuad];
  return slot < kQuad ? byte & 15U : byte >> 4U;
}

std::uint32_t sum_of_group(const GemmI4Job& job, const std::int8_t* row, const std::uint8_t* panel,
                           std::size_t output, std::size_t group) {
  std::uint32_t sum = 0;
  const std::size_t end = std::min(job.lines, (group + 1) * job.group_lines);
  for (std::size_t plane = job.planes; plane-- > 0;) {
    sum <<= 8U;
    const std::int8_t* digits = row + plane * job.plane_stride;
    for (std::size_t l = group * job.group_lines; l < end; ++l)
      for (std::size_t slot = 0; slot < kLineInputs; ++slot)
        sum += static_cast<std::uint32_t>(digits[l * kLineInputs + slot] *
                                          nibble(panel + l * kLineBytes, output, slot));
  }
  return sum;
}

void run_scalar(const GemmI4Job& job, std::size_t begin, std::size_t end) {
  const GemmI8Job& common = job.common;
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t m = 0; m < common.rows; ++m)
      for (std::size_t j = 0; j < kWidth && has_output(common, p * kWidth + j); ++j) {
        const auto* row = static_cast<const std::int8_t*>(common.codes) + m * common.stride;
        std::uint32_t sum = 0;
        for (std::size_t g = 0; g < job.groups; ++g) {
          const std::uint32_t part =
              sum_of_group(job, row, common.panels + p * common.panel_bytes, j, g) -
              static_cast<std::uint32_t>(job.corrections[m * job.groups + g]);
          sum += job.multipliers == nullptr
                     ? part
                     : part * job.multipliers[(p * job.groups + g) * kWidth + j];
        }
        store(common, m, p * kWidth + j, sum);
      }
}

void unpack_scalar(const UnpackI4Job& job, std::size_t begin, std::size_t end) {
  std::uint8_t* out = job.out;
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t q = 0; q < job.quad_count; ++q)
      for (std::size_t j = 0; j < kWidth; ++j)
        for (std::size_t t = 0; t < kQuad; ++t, ++out) {
          const UnpackQuad& quad = job.quads[q];
          const std::uint8_t* four = job.panels + p * job.panel_bytes + quad.at[t] + j * kQuad;
          const std::uint32_t word = four[0] | static_cast<std::uint32_t>(four[1]) << 8U |
                                     static_cast<std::uint32_t>(four[2]) << 16U |
                                     static_cast<std::uint32_t>(four[3]) << 24U;
          const std::uint32_t turned = word << quad.rotate[t] | word >> (32 - quad.rotate[t]) % 32;
          const std::uint32_t value =
              ((turned & quad.mask[t]) >> (8 * t)) - (quad.subtract >> (8 * t) & 255U);
          const std::uint32_t by =
              job.multipliers == nullptr
                  ? 1U
                  : job.multipliers[(p * job.groups + quad.group[t]) * kWidth + j];
          *out = static_cast<std::uint8_t>(static_cast<std::uint8_t>(value * by) ^ job.flip);
        }
}

bool all_same(const std::uint32_t (&four)[kQuad]) {
  return four[1] == four[0] && four[2] == four[0] && four[3] == four[0];
}

constexpr std::array kFewRows = {
#if defined(__x86_64__)
    GemmI4Kernel{"vnni", Isa::avx2 | Isa::avx512 | Isa::vnni, isa::gemm_i4_vnni},
    GemmI4Kernel{"avxvnni", Isa::avx2 | Isa::avxvnni, isa::gemm_i4_avxvnni},
    GemmI4Kernel{"avx2", Isa::avx2, isa::gemm_i4_avx2},
#endif
    GemmI4Kernel{"scalar", Isa::scalar, run_scalar},
};

constexpr std::array kUnpack = {
#if defined(__x86_64__)
    UnpackI4Kernel{"avx512", Isa::avx2 | Isa::avx512, isa::unpack_i4_avx512},
    UnpackI4Kernel{"avx2", Isa::avx2, isa::unpack_i4_avx2},
#endif
    UnpackI4Kernel{"scalar", Isa::scalar, unpack_scalar},
};

/// In both halves four nibbles become the low halves of four bytes, the first of the first.
std::uint64_t spread(std::uint64_t nibbles) {
  nibbles = (nibbles | nibbles << 8U) & 0x00ff00ff00ff00ffU;
  return (nibbles | nibbles << 4U) & 0x0f0f0f0f0f0f0f0fU;
}

/// Two lines of an output from sixteen codes, two to a byte.
std::uint64_t lines_of(std::uint64_t pairs) {
  constexpr std::uint64_t kFirstFour = 0x0000ffff0000ffffU;
  return (spread(pairs & kFirstFour) | spread(pairs >> 16U & kFirstFour) << 4U) ^
         0x8888888888888888U;
}

}  // namespace

PanelsI4::PanelsI4(LinearShape shape, std::size_t group)
    : shape_(shape), group_(group), data_(panels() * panel_bytes()) {
  require(group % kLineInputs == 0, "a line of a packed panel has one multiplier");
  if (shape.out % kWidth != 0)
    std::fill_n(data_.data() + (panels() - 1) * panel_bytes(), panel_bytes(),
                static_cast<std::uint8_t>(kOffset | kOffset << 4));
  if (group == 0) return;
  multipliers_ = AlignedBuffer<std::uint8_t>(panels() * groups() * kWidth);
  multipliers_.fill(1);
}

void PanelsI4::put(std::size_t output, std::span<const std::uint8_t> pairs,
                   std::span<const std::uint8_t> multipliers) {
  require(output < shape_.out && pairs.size() == (shape_.in + 1) / 2,
          "a panel takes all of an output");
  require(multipliers.size() == (group_ == 0 ? 0 : groups()), "every group has a multiplier");
  constexpr std::size_t kLinePairs = kLineInputs / 2;
  const std::size_t p = output / kWidth, j = output % kWidth;
  std::uint8_t* to = data_.data() + p * panel_bytes() + j * kQuad;
  std::size_t k = 0;
  for (; k + 2 * kLineInputs <= shape_.in; k += 2 * kLineInputs, to += 2 * kLineBytes) {
    std::uint64_t two = 0;
    std::memcpy(&two, pairs.data() + k / 2, 2 * kLinePairs);
    two = lines_of(two);
    const auto first = static_cast<std::uint32_t>(two);
    const auto second = static_cast<std::uint32_t>(two >> 32U);
    std::memcpy(to, &first, kQuad);
    std::memcpy(to + kLineBytes, &second, kQuad);
  }
  std::uint64_t last = 0;  // code 0 past the row
  std::memcpy(&last, pairs.data() + k / 2, pairs.size() - k / 2);
  last = lines_of(last & ((std::uint64_t{1} << (shape_.in - k) * 4) - 1));
  for (; k < shape_.in; k += kLineInputs, to += kLineBytes, last >>= 32U) {
    const auto line = static_cast<std::uint32_t>(last);
    std::memcpy(to, &line, kQuad);
  }
  for (std::size_t g = 0; g < multipliers.size(); ++g)
    multipliers_[(p * groups() + g) * kWidth + j] = multipliers[g];
}

std::vector<UnpackQuad> plan_unpacking(std::size_t in, std::span<const std::uint32_t> slots,
                                       std::span<const std::uint8_t> shifts, std::size_t group) {
  require(slots.size() % kQuad == 0 && (shifts.empty() || shifts.size() == slots.size()),
          "slots come in quads");
  std::vector<UnpackQuad> quads(slots.size() / kQuad);
  for (std::size_t q = 0; q < quads.size(); ++q) {
    UnpackQuad quad;
    for (std::size_t t = 0; t < kQuad; ++t) {
      const std::size_t k = slots[q * kQuad + t];
      const std::uint32_t shift = shifts.empty() ? 0U : shifts[q * kQuad + t];
      require(shift <= 4, "a shifted code fits a byte");
      quad.subtract |= 8U << shift << (8 * t);
      if (k >= in) {  // as the slot before it, so that its quad may stay simple
        const std::size_t before = t == 0 ? 0 : t - 1;
        quad.at[t] = quad.at[before];
        quad.rotate[t] = quad.rotate[before];
        quad.group[t] = quad.group[before];
        continue;
      }
      quad.at[t] = static_cast<std::uint32_t>(k / kLineInputs * kLineBytes);
      const std::size_t bit = k % kQuad * 8 + (k % kLineInputs < kQuad ? 0 : 4);
      quad.rotate[t] = static_cast<std::uint32_t>((8 * t + shift + 32 - bit) % 32);
      quad.mask[t] = 15U << shift << (8 * t);
      quad.group[t] = group == 0 ? 0U : static_cast<std::uint32_t>(k / group);
    }
    quad.one_line = all_same(quad.at) && all_same(quad.rotate);
    quad.one_group = all_same(quad.group);
    quads[q] = quad;
  }
  return quads;
}

std::span<const GemmI4Kernel> gemm_i4_kernels() { return kFewRows; }
std::span<const UnpackI4Kernel> unpack_i4_kernels() { return kUnpack; }

}  // namespace tender::kernels
