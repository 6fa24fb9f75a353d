#include "kernels/compress_codes/compress_codes.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/checked.h"
#include "base/kernel_choice.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kQuad = 4;

std::int32_t compress_codes_scalar(const std::int16_t* codes, const std::uint64_t* channels,
                                   std::size_t words, std::uint8_t* out, std::size_t room) {
  std::int32_t sum = 0;
  std::size_t count = 0;
  for (std::size_t word = 0; word < words; ++word)
    for (std::uint64_t left = channels[word]; left != 0; left &= left - 1) {
      const std::int16_t code =
          codes[word * kChannelsOfWord + static_cast<std::size_t>(std::countr_zero(left))];
      sum += code;
      out[count++] = static_cast<std::uint8_t>(code);
    }
  const std::size_t end = std::min(room, round_up(count, kQuad));
  std::fill(out + count, out + end, std::uint8_t{0});
  return sum;
}

constexpr std::array kKernels = {
#if defined(__x86_64__)
    CompressCodesKernel{"vbmi", Isa::avx2 | Isa::avx512 | Isa::vnni | Isa::vbmi,
                        isa::compress_codes_vbmi},
#endif
    CompressCodesKernel{"scalar", Isa::scalar, compress_codes_scalar},
};

}  // namespace

std::span<const CompressCodesKernel> compress_codes_kernels() { return kKernels; }
const CompressCodesKernel& best_compress_codes(Isa isa) { return best_kernel(kKernels, isa); }

}  // namespace tender::kernels
