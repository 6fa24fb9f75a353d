#include "kernels/gemm_i8/gemm_i8.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/contracts.h"
#include "kernels/gemm_i8/store_scalar.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kWidth = PanelsI8::kWidth;
constexpr std::size_t kQuad = PanelsI8::kQuad;

template <class Code>
void accumulate(const GemmI8Job& job, const Code* codes, const std::uint8_t* panel,
                std::uint32_t* sum) {
  for (std::size_t s = 0; s < job.segment_count; ++s) {
    const Segment& segment = job.segments[s];
    for (std::size_t j = 0; j < kWidth; ++j) sum[j] <<= segment.shift;
    const Code* code = codes + segment.codes * kQuad;
    const std::uint8_t* weights = panel + segment.panel * PanelsI8::kQuadBytes;
    for (std::size_t q = 0; q < segment.quads; ++q, code += kQuad, weights += PanelsI8::kQuadBytes)
      for (std::size_t j = 0; j < kWidth; ++j)
        for (std::size_t t = 0; t < kQuad; ++t)
          sum[j] += static_cast<std::uint32_t>(static_cast<std::int32_t>(code[t]) *
                                               static_cast<std::int8_t>(weights[j * kQuad + t]));
  }
}

template <class Code>
void run_scalar(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t m = 0; m < job.rows; ++m) {
      std::uint32_t sum[kWidth] = {};
      accumulate(job, static_cast<const Code*>(job.codes) + m * job.stride,
                 job.panels + (p - job.first_panel) * job.panel_bytes, sum);
      for (std::size_t j = 0; j < kWidth && has_output(job, p * kWidth + j); ++j) {
        if (job.corrections != nullptr) sum[j] -= static_cast<std::uint32_t>(job.corrections[m]);
        store(job, m, p * kWidth + j, sum[j]);
      }
    }
}

void scalar_bytes(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  if (job.codes_signed)
    run_scalar<std::int8_t>(job, begin, end);
  else
    run_scalar<std::uint8_t>(job, begin, end);
}

void scalar_words(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  run_scalar<std::int16_t>(job, begin, end);
}

constexpr std::array kGrouped = {
#if defined(__x86_64__)
    GemmI8Kernel{"amx", Isa::avx2 | Isa::avx512 | Isa::vnni | Isa::amx, CodeWidth::bytes, true,
                 isa::gemm_i8_amx},
    GemmI8Kernel{"vnni", Isa::avx2 | Isa::avx512 | Isa::vnni, CodeWidth::bytes, true,
                 isa::gemm_i8_vnni},
    GemmI8Kernel{"avx512", Isa::avx2 | Isa::avx512, CodeWidth::words, false, isa::gemm_i16_avx512},
    GemmI8Kernel{"avx2", Isa::avx2, CodeWidth::words, false, isa::gemm_i16_avx2},
#endif
    GemmI8Kernel{"scalar", Isa::scalar, CodeWidth::bytes, false, scalar_bytes},
};

constexpr std::array kShifted = {
#if defined(__x86_64__)
    GemmI8Kernel{"vnni", Isa::avx2 | Isa::avx512 | Isa::vnni, CodeWidth::words, false,
                 isa::gemm_i16_vnni},
    GemmI8Kernel{"avx512", Isa::avx2 | Isa::avx512, CodeWidth::words, false, isa::gemm_i16_avx512},
    GemmI8Kernel{"avx2", Isa::avx2, CodeWidth::words, false, isa::gemm_i16_avx2},
#endif
    GemmI8Kernel{"scalar", Isa::scalar, CodeWidth::words, false, scalar_words},
};

}  // namespace

PanelsI8::PanelsI8(std::size_t out, std::size_t quads, bool offset)
    : out_(out), quads_(quads), offset_(offset), data_(panels() * quads * kQuadBytes) {
  if (out % kWidth != 0)
    std::fill_n(data_.data() + (panels() - 1) * panel_bytes(), panel_bytes(), std::uint8_t{0});
}

void PanelsI8::put(std::size_t output, std::span<const std::int8_t> codes,
                   std::span<const std::uint32_t> slots) {
  require(output < out_ && slots.size() == quads_ * kQuad, "a panel takes all slots of an output");
  const auto flip = static_cast<std::uint8_t>(offset_ ? 0x80 : 0);
  std::uint8_t* at = data_.data() + output / kWidth * panel_bytes() + output % kWidth * kQuad;
  for (std::size_t q = 0; q < quads_; ++q, at += kQuadBytes) {
    const std::uint32_t* slot = slots.data() + q * kQuad;
    if (slot[1] == slot[0] + 1 && slot[2] == slot[0] + 2 && slot[3] == slot[0] + 3 &&
        slot[0] < codes.size() && slot[3] < codes.size()) {
      std::uint32_t word = 0;
      std::memcpy(&word, codes.data() + slot[0], kQuad);
      word ^= flip * 0x01010101U;
      std::memcpy(at, &word, kQuad);
      continue;
    }
    for (std::size_t t = 0; t < kQuad; ++t) {
      const std::uint32_t channel = slot[t];
      const std::int8_t code = channel < codes.size() ? codes[channel] : std::int8_t{0};
      at[t] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(code) ^ flip);
    }
  }
}

std::span<const GemmI8Kernel> gemm_i8_kernels() { return kGrouped; }
std::span<const GemmI8Kernel> gemm_i16_kernels() { return kShifted; }

}  // namespace tender::kernels
