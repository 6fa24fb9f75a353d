#include <immintrin.h>

#include "kernels/round_rows/round_rows.h"

// Bound by the read of x, bias and multiplier from L1 and L2.

namespace tender::kernels::isa {
namespace {

/// All ones in the lanes below `left`.
inline __m256i lanes(std::size_t left) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left < 8 ? left : 8)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// The largest of eight integers, all at least 0.
inline int largest_of(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0b01'00'11'10));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0b10'11'00'01));
  return _mm_cvtsi128_si32(m);
}

/// Eight integers that fit 16 bits, the first `left` of them.
inline void store_words(std::int16_t* codes, __m256i code, std::size_t left) {
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
  if (left >= 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), words);
    return;
  }
  alignas(16) std::int16_t tail[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(tail), words);
  for (std::size_t i = 0; i < left; ++i) codes[i] = tail[i];
}

}  // namespace

RowReach scale_row_avx2(const float* x, const float* bias, const float* multiplier, std::size_t in,
                        float* u) {
  __m256i magnitude = _mm256_setzero_si256();
  __m256i largest = _mm256_setzero_si256();
  for (std::size_t k = 0; k < in; k += 8) {
    const __m256i mask = lanes(in - k);
    __m256 value = _mm256_maskload_ps(x + k, mask);
    if (bias != nullptr) value = _mm256_sub_ps(value, _mm256_maskload_ps(bias + k, mask));
    if (multiplier != nullptr)
      value = _mm256_mul_ps(value, _mm256_maskload_ps(multiplier + k, mask));
    _mm256_maskstore_ps(u + k, mask, value);
    const __m256i bits = _mm256_castps_si256(value);
    // without the sign bit signed and unsigned order agree
    magnitude = _mm256_max_epi32(magnitude, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
    largest = _mm256_max_epi32(largest, bits);
  }
  return {static_cast<std::uint32_t>(largest_of(magnitude)),
          _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(largest_of(largest))))};
}

void round_row_avx2(const float* u, float factor, float low, float high, std::size_t in,
                    std::int16_t* codes) {
  const __m256 by = _mm256_set1_ps(factor);
  const __m256 least = _mm256_set1_ps(low);
  const __m256 most = _mm256_set1_ps(high);
  for (std::size_t k = 0; k < in; k += 8) {
    const std::size_t left = in - k;
    __m256 value = _mm256_mul_ps(_mm256_maskload_ps(u + k, lanes(left)), by);
    value = _mm256_round_ps(_mm256_max_ps(_mm256_min_ps(value, most), least),
                            _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    store_words(codes + k, _mm256_cvtps_epi32(value), left);
  }
}

void round_elements_avx2(const float* x, float peak, float factor, float low, float high,
                         int groups, std::size_t in, std::int16_t* operands) {
  const __m256 by = _mm256_set1_ps(factor);
  const __m256 floor = _mm256_set1_ps(low < 0 ? -peak : 0.0F);
  const __m256 least = _mm256_set1_ps(low);
  const __m256 most = _mm256_set1_ps(high);
  const __m256i top = _mm256_castps_si256(_mm256_set1_ps(peak));
  const __m256i last = _mm256_set1_epi32(groups - 1);
  for (std::size_t k = 0; k < in; k += 8) {
    const std::size_t left = in - k;
    const __m256 value = _mm256_max_ps(_mm256_maskload_ps(x + k, lanes(left)), floor);
    const __m256i magnitude =
        _mm256_and_si256(_mm256_castps_si256(value), _mm256_set1_epi32(0x7fffffff));
    const __m256i halvings =
        _mm256_min_epu32(_mm256_srli_epi32(_mm256_sub_epi32(top, magnitude), 23), last);
    const __m256 power = _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(halvings, _mm256_set1_epi32(127)), 23));
    const __m256 scaled = _mm256_mul_ps(_mm256_mul_ps(value, by), power);
    const __m256i code =
        _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(scaled, most), least));  // nearest even
    store_words(operands + k, _mm256_sllv_epi32(code, _mm256_sub_epi32(last, halvings)), left);
  }
}

}  // namespace tender::kernels::isa
