#include <immintrin.h>

#include "kernels/gemm_i4/gemm_i4.h"

// 64 weights a turn. A slot costs a load, a rotation and a masked or; where four slots lie side by
// side, all of them do. Multipliers cost a byte product: even and odd bytes in 16-bit lanes.

namespace tender::kernels::isa {
namespace {

inline __m512i codes_of(const UnpackQuad& quad, const std::uint8_t* panel) {
  if (quad.one_line) {
    const std::uint32_t mask = quad.mask[0] | quad.mask[1] | quad.mask[2] | quad.mask[3];
    const __m512i turned = _mm512_rolv_epi32(_mm512_load_si512(panel + quad.at[0]),
                                             _mm512_set1_epi32(static_cast<int>(quad.rotate[0])));
    return _mm512_and_si512(turned, _mm512_set1_epi32(static_cast<int>(mask)));
  }
  __m512i all = _mm512_setzero_si512();
  for (int t = 0; t < 4; ++t) {
    const __m512i turned = _mm512_rolv_epi32(_mm512_load_si512(panel + quad.at[t]),
                                             _mm512_set1_epi32(static_cast<int>(quad.rotate[t])));
    // all | (turned & mask)
    all = _mm512_ternarylogic_epi32(all, turned, _mm512_set1_epi32(static_cast<int>(quad.mask[t])),
                                    0xf8);
  }
  return all;
}

inline __m512i multipliers_of(const std::uint8_t* multipliers, std::uint32_t group) {
  return _mm512_cvtepu8_epi32(
      _mm_load_si128(reinterpret_cast<const __m128i*>(multipliers + group * 16U)));
}

inline __m512i multipliers_of(const UnpackQuad& quad, const std::uint8_t* multipliers) {
  const __m512i first = multipliers_of(multipliers, quad.group[0]);
  if (quad.one_group) {
    const __m512i four_times =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    return _mm512_shuffle_epi8(first, four_times);
  }
  const __m512i second = _mm512_slli_epi32(multipliers_of(multipliers, quad.group[1]), 8);
  const __m512i third = _mm512_slli_epi32(multipliers_of(multipliers, quad.group[2]), 16);
  const __m512i fourth = _mm512_slli_epi32(multipliers_of(multipliers, quad.group[3]), 24);
  return _mm512_or_si512(_mm512_or_si512(first, second), _mm512_or_si512(third, fourth));
}

/// Byte by byte modulo 2^8.
inline __m512i product(__m512i a, __m512i b) {
  const __m512i low_byte = _mm512_set1_epi16(0x00ff);
  const __m512i even = _mm512_mullo_epi16(a, b);
  const __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(a, 8), _mm512_andnot_si512(low_byte, b));
  return _mm512_ternarylogic_epi32(low_byte, even, odd, 0xca);  // low_byte ? even : odd
}

template <bool Multiplied>
void run(const UnpackI4Job& job, std::size_t begin, std::size_t end) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(job.flip));
  std::uint8_t* out = job.out;
  for (std::size_t p = begin; p < end; ++p) {
    const std::uint8_t* panel = job.panels + p * job.panel_bytes;
    const std::uint8_t* multipliers = Multiplied ? job.multipliers + p * job.groups * 16 : nullptr;
    for (std::size_t q = 0; q < job.quad_count; ++q, out += 64) {
      const UnpackQuad& quad = job.quads[q];
      __m512i codes = _mm512_sub_epi8(codes_of(quad, panel),
                                      _mm512_set1_epi32(static_cast<int>(quad.subtract)));
      if (Multiplied) codes = product(codes, multipliers_of(quad, multipliers));
      _mm512_store_si512(out, _mm512_xor_si512(codes, flip));
    }
  }
}

}  // namespace

void unpack_i4_avx512(const UnpackI4Job& job, std::size_t begin, std::size_t end) {
  if (job.multipliers == nullptr)
    run<false>(job, begin, end);
  else
    run<true>(job, begin, end);
}

}  // namespace tender::kernels::isa
