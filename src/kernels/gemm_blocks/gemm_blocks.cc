#include "kernels/gemm_blocks/gemm_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/contracts.h"
#include "base/half.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kWidth = PanelsBlocks::kWidth;
constexpr std::size_t kBlock = PanelsBlocks::kBlock;
constexpr std::size_t kSuper = PanelsBlocks::kSuper;
constexpr std::size_t kQuad = 4;
constexpr std::size_t kHalves = kWidth * sizeof(std::uint16_t);  ///< bytes of 16 float16
constexpr std::size_t kSuperHead = 2 * kHalves;
constexpr std::size_t kSuperBytes = kSuperHead + kSuper * 2 * kWidth;
constexpr std::size_t kHalvedBytes = kHalves + kSuper * 2 * kWidth;
constexpr std::size_t kHalf = kBlock / 2;

std::size_t scale_bytes(BlockScales form, std::size_t blocks) {
  switch (form) {
    case BlockScales::floats:
      return blocks * kWidth * sizeof(float);
    case BlockScales::halves:
      return blocks * kHalves;
    case BlockScales::halves_and_minima:
      return blocks * 2 * kHalves;
    case BlockScales::superblocks:
      return (blocks + kSuper - 1) / kSuper * kSuperBytes;
    case BlockScales::half_blocks:
      break;
  }
  return (blocks + kSuper - 1) / kSuper * kHalvedBytes;
}

struct Scale {
  float scale = 0;
  float minimum = 0;
};

float half_at(const std::uint8_t* at, std::size_t j) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at + j * sizeof bits, sizeof bits);
  return half_to_float(bits);
}

/// Where a block's bytes stand in a panel's scales, of forms that have such.
std::size_t times_at(BlockScales form, std::size_t block) {
  const bool halved = form == BlockScales::half_blocks;
  return block / kSuper * (halved ? kHalvedBytes : kSuperBytes) + (halved ? kHalves : kSuperHead) +
         block % kSuper * 2 * kWidth;
}

/// Of a panel's scales. @param part  which scale of the block  @param j  output of the panel
Scale scale_of(const std::uint8_t* scales, BlockScales form, std::size_t block, std::size_t part,
               std::size_t j) {
  switch (form) {
    case BlockScales::floats: {
      float scale = 0;
      std::memcpy(&scale, scales + (block * kWidth + j) * sizeof scale, sizeof scale);
      return {scale, 0};
    }
    case BlockScales::halves:
      return {half_at(scales + block * kHalves, j), 0};
    case BlockScales::halves_and_minima: {
      const std::uint8_t* at = scales + block * 2 * kHalves;
      return {half_at(at, j), half_at(at + kHalves, j)};
    }
    case BlockScales::half_blocks: {
      const auto times =
          static_cast<std::int8_t>(scales[times_at(form, block) + part * kWidth + j]);
      return {half_at(scales + block / kSuper * kHalvedBytes, j) * static_cast<float>(times), 0};
    }
    case BlockScales::superblocks:
      break;
  }
  const std::uint8_t* super = scales + block / kSuper * kSuperBytes;
  const std::uint8_t* times = scales + times_at(form, block);
  return {half_at(super, j) * static_cast<float>(times[j]),
          -(half_at(super + kHalves, j) * static_cast<float>(times[kWidth + j]))};
}

bool has_minima(BlockScales form) {
  return form == BlockScales::halves_and_minima || form == BlockScales::superblocks;
}

/// Code + zero of a panel's weight.
int unsigned_of(int bits, const std::uint8_t* panel, std::size_t j, std::size_t k) {
  if (bits == 8) return panel[(k / kQuad * kWidth + j) * kQuad + k % kQuad];
  const std::uint8_t byte = panel[(k / (2 * kQuad) * kWidth + j) * kQuad + k % kQuad];
  return k % (2 * kQuad) < kQuad ? byte & 15 : byte >> 4;
}

float dot(const GemmBlocksJob& job, std::size_t m, std::size_t p, std::size_t j) {
  const std::int8_t* row = job.codes + m * job.stride;
  const std::uint8_t* panel = job.panels + p * job.panel_bytes;
  const bool minima = has_minima(job.form);
  float y = 0;
  const std::size_t parts = scales_in_block(job.form), width = kBlock / parts;
  for (std::size_t b = 0; b < job.blocks; ++b)
    for (std::size_t part = 0; part < parts; ++part) {
      std::int32_t sum = 0;
      for (std::size_t k = b * kBlock + part * width; k < b * kBlock + (part + 1) * width; ++k)
        sum += row[k] * (unsigned_of(job.bits, panel, j, k) - job.zero);
      const Scale scale = scale_of(job.scales + p * job.panel_scale_bytes, job.form, b, part, j);
      const float step = job.steps[m * job.blocks + b];
      y = std::fma(static_cast<float>(sum), scale.scale * step, y);
      if (!minima) continue;
      const std::int32_t* sums = job.sums + 2 * (m * job.blocks + b);
      y = std::fma(scale.minimum, step * static_cast<float>(sums[0] + sums[1]), y);
    }
  return y;
}

void run_scalar(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t m = 0; m < job.rows; ++m)
      for (std::size_t j = 0; j < kWidth && p * kWidth + j < job.out; ++j) {
        const std::size_t n = p * kWidth + j;
        const float y = dot(job, m, p, j);
        job.y[m * job.y_stride + n] = job.bias == nullptr ? y : y + job.bias[n];
      }
}

void round_block(const float* x, std::size_t count, float qmax, std::int8_t* codes, float& step,
                 std::int32_t* sums) {
  std::fill_n(codes, kBlock, std::int8_t{0});
  step = 0;
  sums[0] = sums[1] = 0;
  float largest = 0;
  for (std::size_t k = 0; k < count; ++k) {
    if (!std::isfinite(x[k])) {
      step = std::numeric_limits<float>::quiet_NaN();
      return;
    }
    largest = std::max(largest, std::abs(x[k]));
  }
  if (largest < 0x1p-100F) return;
  step = largest / qmax;
  // Adding it leaves no bits behind the point, and the addition rounds to nearest even.
  constexpr float kNoFraction = 0x1.8p23F;
  for (std::size_t k = 0; k < count; ++k) {
    const float nearest = x[k] / step + kNoFraction - kNoFraction;
    codes[k] = static_cast<std::int8_t>(std::clamp(nearest, -qmax, qmax));
    sums[k / kHalf] += codes[k];
  }
}

void round_scalar(const float* x, std::size_t in, int qmax, std::int8_t* codes, float* steps,
                  std::int32_t* sums) {
  for (std::size_t b = 0; b * kBlock < in; ++b)
    round_block(x + b * kBlock, std::min(kBlock, in - b * kBlock), static_cast<float>(qmax),
                codes + b * kBlock, steps[b], sums + 2 * b);
}

constexpr std::array kGemm = {
#if defined(__x86_64__)
    GemmBlocksKernel{"vnni", Isa::avx2 | Isa::avx512 | Isa::vnni, isa::gemm_blocks_vnni},
    GemmBlocksKernel{"avxvnni", Isa::avx2 | Isa::avxvnni, isa::gemm_blocks_avxvnni},
    GemmBlocksKernel{"avx2", Isa::avx2, isa::gemm_blocks_avx2},
#endif
    GemmBlocksKernel{"scalar", Isa::scalar, run_scalar},
};

constexpr std::array kRound = {
#if defined(__x86_64__)
    RoundBlocksKernel{"avx512", Isa::avx2 | Isa::avx512, isa::round_blocks_avx512},
    RoundBlocksKernel{"avx2", Isa::avx2, isa::round_blocks_avx2},
#endif
    RoundBlocksKernel{"scalar", Isa::scalar, round_scalar},
};

std::uint32_t word_at(const std::uint8_t* at) {
  std::uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return word;
}

/// Of a value that is one.
std::uint16_t exact_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Most are normal: an exponent with another offset, and ten bits of a mantissa.
  if ((bits >> 23U & 0xffU) - 113U < 30U && (bits & 0x1fffU) == 0)
    return static_cast<std::uint16_t>((bits >> 16U & 0x8000U) |
                                      ((bits & 0x7fffffffU) - (112U << 23U)) >> 13U);
  const std::uint16_t half = float_to_half(value);
  require(half_to_float(half) == value || value != value, "the scale is a float16");
  return half;
}

void put_half(std::uint8_t* at, std::size_t j, float value) {
  const std::uint16_t bits = exact_half(value);
  std::memcpy(at + j * sizeof bits, &bits, sizeof bits);
}

void put_scale(std::uint8_t* scales, BlockScales form, std::size_t block, std::size_t j,
               const BlockScale& value) {
  switch (form) {
    case BlockScales::floats:
      std::memcpy(scales + (block * kWidth + j) * sizeof(float), &value.scale, sizeof(float));
      return;
    case BlockScales::halves:
      put_half(scales + block * kHalves, j, value.scale);
      return;
    case BlockScales::halves_and_minima:
      put_half(scales + block * 2 * kHalves, j, value.scale);
      put_half(scales + block * 2 * kHalves + kHalves, j, value.minimum);
      return;
    case BlockScales::superblocks:
      put_half(scales + block / kSuper * kSuperBytes, j, value.scale);
      put_half(scales + block / kSuper * kSuperBytes + kHalves, j, value.minimum);
      break;
    case BlockScales::half_blocks:
      put_half(scales + block / kSuper * kHalvedBytes, j, value.scale);
      break;
  }
  std::uint8_t* times = scales + times_at(form, block);
  times[j] = value.times;
  times[kWidth + j] = value.min_times;
}

}  // namespace

PanelsBlocks::PanelsBlocks(LinearShape shape, int bits, int zero, BlockScales form)
    : shape_(shape),
      bits_(bits),
      zero_(zero),
      form_(form),
      panel_scale_bytes_(scale_bytes(form, blocks())),
      data_(panels() * panel_bytes()),
      scales_(panels() * panel_scale_bytes_) {
  require(bits == 8 ? zero == 128 : bits == 4 && (zero == 0 || zero == 8), "a form of blocks");
  data_.fill(static_cast<std::uint8_t>(bits == 8 ? zero : zero | zero << 4));
  scales_.fill(0);
}

void PanelsBlocks::put(std::size_t output, std::span<const std::uint8_t> u,
                       std::span<const BlockScale> scales) {
  require(output < shape_.out && u.size() == shape_.in && scales.size() == blocks(),
          "a panel takes all of an output");
  const std::size_t p = output / kWidth, j = output % kWidth;
  std::uint8_t* panel = data_.data() + p * panel_bytes() + j * kQuad;
  std::uint32_t above = 0;
  std::size_t k = 0;
  if (bits_ == 8) {
    for (; k + kQuad <= u.size(); k += kQuad)
      std::memcpy(panel + k / kQuad * kWidth * kQuad, u.data() + k, kQuad);
  } else {
    for (; k + 2 * kQuad <= u.size(); k += 2 * kQuad) {
      const std::uint32_t low = word_at(u.data() + k), high = word_at(u.data() + k + kQuad);
      above |= low | high;
      const std::uint32_t line = low | high << 4U;
      std::memcpy(panel + k / (2 * kQuad) * kWidth * kQuad, &line, sizeof line);
    }
  }
  for (; k < u.size(); ++k) {
    if (bits_ == 8) {
      panel[k / kQuad * kWidth * kQuad + k % kQuad] = u[k];
      continue;
    }
    above |= u[k];
    std::uint8_t& byte = panel[k / (2 * kQuad) * kWidth * kQuad + k % kQuad];
    byte = static_cast<std::uint8_t>(k % (2 * kQuad) < kQuad ? (byte & 0xf0) | u[k]
                                                             : (byte & 0x0f) | u[k] << 4);
  }
  require((above & 0xf0f0f0f0U) == 0, "a code has 4 bits");
  for (std::size_t b = 0; b < scales.size(); ++b)
    put_scale(scales_.data() + p * panel_scale_bytes_, form_, b, j, scales[b]);
}

void PanelsBlocks::take(std::size_t output, std::span<float> w) const {
  require(output < shape_.out && w.size() == shape_.in, "an output of the panels");
  const std::size_t p = output / kWidth, j = output % kWidth;
  const std::size_t width = kBlock / scales_in_block(form_);
  Scale scale;
  for (std::size_t k = 0; k < w.size(); ++k) {
    if (k % width == 0)
      scale =
          scale_of(scales() + p * panel_scale_bytes(), form_, k / kBlock, k % kBlock / width, j);
    const int level = unsigned_of(bits_, data() + p * panel_bytes(), j, k) - zero_;
    w[k] = scale.scale * static_cast<float>(level);
    if (has_minima(form_)) w[k] += scale.minimum;
  }
}

std::span<const GemmBlocksKernel> gemm_blocks_kernels() { return kGemm; }
std::span<const RoundBlocksKernel> round_blocks_kernels() { return kRound; }

}  // namespace tender::kernels
