#include <immintrin.h>

#include "kernels/compress_codes/compress_codes.h"

// One vpcompressb for 64 channels. Zeros follow what a word gives, and the next word
// overwrites them.

namespace tender::kernels::isa {
namespace {

inline __mmask64 first_bytes(std::size_t n) { return n >= 64 ? ~__mmask64{0} : (1ULL << n) - 1; }

}  // namespace

std::int32_t compress_codes_vbmi(const std::int16_t* codes, const std::uint64_t* channels,
                                 std::size_t words, std::uint8_t* out, std::size_t room) {
  const std::uint8_t* const begin = out;
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sums = _mm512_setzero_si512();
  for (std::size_t word = 0; word < words; ++word, codes += kChannelsOfWord) {
    const __mmask64 set = channels[word];
    const auto low = static_cast<__mmask32>(set), high = static_cast<__mmask32>(set >> 32U);
    const __m512i a = _mm512_maskz_loadu_epi16(low, codes);
    const __m512i b = _mm512_maskz_loadu_epi16(high, codes + kChannelsOfWord / 2);
    sums = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sums, a, ones), b, ones);
    const __m512i bytes = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(a)),
                                             _mm512_cvtepi16_epi8(b), 1);
    const __m512i packed = _mm512_maskz_compress_epi8(set, bytes);
    if (room >= 64)
      _mm512_storeu_si512(out, packed);
    else
      _mm512_mask_storeu_epi8(out, first_bytes(room), packed);
    const auto count = static_cast<std::size_t>(__builtin_popcountll(set));
    out += count;
    room -= count;
  }
  for (; (out - begin) % 4 != 0; ++out) *out = 0;  // a word that was full leaves no zeros
  return _mm512_reduce_add_epi32(sums);
}

}  // namespace tender::kernels::isa
