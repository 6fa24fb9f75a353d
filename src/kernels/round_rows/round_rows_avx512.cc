#include <immintrin.h>

#include "kernels/round_rows/round_rows.h"

// Bound by the read of x, bias and multiplier from L1 and L2.

namespace tender::kernels::isa {
namespace {

inline __mmask16 lanes(std::size_t left) {
  return static_cast<__mmask16>(left >= 16 ? 0xffffU : (1U << left) - 1U);
}

// Whole vectors are read and written without a mask, which costs a store its second half.
inline __m512 load(const float* p, std::size_t left) {
  return left >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes(left), p);
}
inline void store(float* p, std::size_t left, __m512 value) {
  if (left >= 16)
    _mm512_storeu_ps(p, value);
  else
    _mm512_mask_storeu_ps(p, lanes(left), value);
}

template <bool Bias, bool Multiplier>
RowReach scale(const float* x, const float* bias, const float* multiplier, std::size_t in,
               float* u) {
  const __m512i no_sign = _mm512_set1_epi32(0x7fffffff);
  __m512i magnitude = _mm512_setzero_si512();
  __m512i largest = _mm512_setzero_si512();
  for (std::size_t k = 0; k < in; k += 16) {
    const std::size_t left = in - k;
    __m512 value = load(x + k, left);
    if constexpr (Bias) value = _mm512_sub_ps(value, load(bias + k, left));
    if constexpr (Multiplier) value = _mm512_mul_ps(value, load(multiplier + k, left));
    store(u + k, left, value);
    const __m512i bits = _mm512_castps_si512(value);
    magnitude = _mm512_max_epu32(magnitude, _mm512_and_si512(bits, no_sign));
    largest = _mm512_max_epi32(largest, bits);
  }
  return {_mm512_reduce_max_epu32(magnitude),
          _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(largest))))};
}

}  // namespace

RowReach scale_row_avx512(const float* x, const float* bias, const float* multiplier,
                          std::size_t in, float* u) {
  if (bias != nullptr)
    return multiplier != nullptr ? scale<true, true>(x, bias, multiplier, in, u)
                                 : scale<true, false>(x, bias, multiplier, in, u);
  return multiplier != nullptr ? scale<false, true>(x, bias, multiplier, in, u)
                               : scale<false, false>(x, bias, multiplier, in, u);
}

void round_row_avx512(const float* u, float factor, float low, float high, std::size_t in,
                      std::int16_t* codes) {
  const __m512 by = _mm512_set1_ps(factor);
  const __m512 least = _mm512_set1_ps(low);
  const __m512 most = _mm512_set1_ps(high);
  for (std::size_t k = 0; k < in; k += 16) {
    const std::size_t left = in - k;
    const __m512 value = _mm512_mul_ps(load(u + k, left), by);
    const __m512i code = _mm512_cvt_roundps_epi32(_mm512_max_ps(_mm512_min_ps(value, most), least),
                                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    if (left >= 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + k), _mm512_cvtepi32_epi16(code));
    else
      _mm512_mask_cvtepi32_storeu_epi16(codes + k, lanes(left), code);
  }
}

void round_elements_avx512(const float* x, float peak, float factor, float low, float high,
                           int groups, std::size_t in, std::int16_t* operands) {
  const __m512 by = _mm512_set1_ps(factor);
  const __m512 floor = _mm512_set1_ps(low < 0 ? -peak : 0.0F);
  const __m512 least = _mm512_set1_ps(low);
  const __m512 most = _mm512_set1_ps(high);
  const __m512i top = _mm512_castps_si512(_mm512_set1_ps(peak));
  const __m512i last = _mm512_set1_epi32(groups - 1);
  for (std::size_t k = 0; k < in; k += 16) {
    const __mmask16 mask = lanes(in - k);
    const __m512 value = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, x + k), floor);
    const __m512i magnitude =
        _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(0x7fffffff));
    const __m512i halvings =
        _mm512_min_epu32(_mm512_srli_epi32(_mm512_sub_epi32(top, magnitude), 23), last);
    const __m512 power = _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_add_epi32(halvings, _mm512_set1_epi32(127)), 23));
    const __m512 scaled = _mm512_mul_ps(_mm512_mul_ps(value, by), power);
    const __m512i code = _mm512_cvt_roundps_epi32(_mm512_max_ps(_mm512_min_ps(scaled, most), least),
                                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm512_mask_cvtepi32_storeu_epi16(operands + k, mask,
                                      _mm512_sllv_epi32(code, _mm512_sub_epi32(last, halvings)));
  }
}

}  // namespace tender::kernels::isa
