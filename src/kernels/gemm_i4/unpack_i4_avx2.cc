#include <immintrin.h>

#include "kernels/gemm_i4/gemm_i4.h"

// As unpack_i4_avx512.cc, 32 weights a turn: a rotation is two shifts.

namespace tender::kernels::isa {
namespace {

inline __m256i slot(const UnpackQuad& quad, int t, const std::uint8_t* half, std::uint32_t mask) {
  const __m256i line = _mm256_load_si256(reinterpret_cast<const __m256i*>(half + quad.at[t]));
  const int by = static_cast<int>(quad.rotate[t]);
  const __m256i left = _mm256_sll_epi32(line, _mm_cvtsi32_si128(by));
  const __m256i right = _mm256_srl_epi32(line, _mm_cvtsi32_si128(32 - by));  // by 32: 0
  return _mm256_and_si256(_mm256_or_si256(left, right), _mm256_set1_epi32(static_cast<int>(mask)));
}

inline __m256i codes_of(const UnpackQuad& quad, const std::uint8_t* half) {
  if (quad.one_line)
    return slot(quad, 0, half, quad.mask[0] | quad.mask[1] | quad.mask[2] | quad.mask[3]);
  __m256i all = _mm256_setzero_si256();
  for (int t = 0; t < 4; ++t) all = _mm256_or_si256(all, slot(quad, t, half, quad.mask[t]));
  return all;
}

inline __m256i multipliers_of(const UnpackQuad& quad, const std::uint8_t* multipliers) {
  __m256i all = _mm256_setzero_si256();
  for (int t = 0; t < 4; ++t) {
    const std::uint8_t* at = multipliers + quad.group[t] * std::size_t{16};
    const __m256i eight =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    all = _mm256_or_si256(all, _mm256_sll_epi32(eight, _mm_cvtsi32_si128(8 * t)));
  }
  return all;
}

/// Byte by byte modulo 2^8.
inline __m256i product(__m256i a, __m256i b) {
  const __m256i low_byte = _mm256_set1_epi16(0x00ff);
  const __m256i even = _mm256_mullo_epi16(a, b);
  const __m256i odd = _mm256_mullo_epi16(_mm256_srli_epi16(a, 8), _mm256_andnot_si256(low_byte, b));
  return _mm256_or_si256(_mm256_and_si256(low_byte, even), odd);
}

}  // namespace

void unpack_i4_avx2(const UnpackI4Job& job, std::size_t begin, std::size_t end) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(job.flip));
  std::uint8_t* out = job.out;
  for (std::size_t p = begin; p < end; ++p)
    for (std::size_t q = 0; q < job.quad_count; ++q)
      for (std::size_t h = 0; h < 2; ++h, out += 32) {
        const UnpackQuad& quad = job.quads[q];
        const std::uint8_t* half = job.panels + p * job.panel_bytes + 32 * h;
        __m256i codes = _mm256_sub_epi8(codes_of(quad, half),
                                        _mm256_set1_epi32(static_cast<int>(quad.subtract)));
        if (job.multipliers != nullptr)
          codes =
              product(codes, multipliers_of(quad, job.multipliers + p * job.groups * 16 + 8 * h));
        _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_xor_si256(codes, flip));
      }
}

}  // namespace tender::kernels::isa
