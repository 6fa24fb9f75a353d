#include <immintrin.h>

#include "kernels/lanes/avx2.h"

namespace tender::kernels {
namespace {

struct I16 {
  __m256i low;
  __m256i high;
};
using Line = I16;
// Keys of 8 bits are taken back to signed bytes: unsigned ones would overflow sums of two in words.
constexpr int kKeyOffset = 0;

inline I16 splat(int n) { return {_mm256_set1_epi32(n), _mm256_set1_epi32(n)}; }
inline F16 to_float(I16 n) { return {_mm256_cvtepi32_ps(n.low), _mm256_cvtepi32_ps(n.high)}; }
inline Line load_line(const std::uint8_t* p) {
  return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
inline __m256i low_nibbles(__m256i bytes) {
  return _mm256_and_si256(bytes, _mm256_set1_epi8(0x0f));
}
inline Line low(Line line) { return {low_nibbles(line.low), low_nibbles(line.high)}; }
inline Line high(Line line) {
  return {low_nibbles(_mm256_srli_epi16(line.low, 4)),
          low_nibbles(_mm256_srli_epi16(line.high, 4))};
}
inline Line less_eight(Line line) {
  const __m256i eight = _mm256_set1_epi8(8);
  return {_mm256_sub_epi8(line.low, eight), _mm256_sub_epi8(line.high, eight)};
}

/// acc + `weight` times the sums of four products of unsigned and signed bytes, whose sums of two
/// fit words.
inline __m256i dot(__m256i acc, __m256i unsigned_bytes, __m256i signed_bytes, short weight) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned_bytes, signed_bytes),
                                                 _mm256_set1_epi16(weight)));
}

/// Codes of keys are within 127, so that two products fit a word; memory of positions that are not
/// seen may hold -128, where the sum is not looked at.
inline __m256i dot_keys(__m256i acc, __m256i codes, __m256i q) {
  const __m256i keys = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
  return dot(acc, _mm256_sign_epi8(q, q), _mm256_sign_epi8(keys, q), 1);
}
inline I16 dot_keys(I16 acc, Line codes, int q) {
  const __m256i quads = _mm256_set1_epi32(q);
  return {dot_keys(acc.low, codes.low, quads), dot_keys(acc.high, codes.high, quads)};
}
inline I16 dot_low_keys(I16 acc, Line codes, int q) {
  const __m256i quads = _mm256_set1_epi32(q);
  return {dot(acc.low, codes.low, quads, 1), dot(acc.high, codes.high, quads, 1)};
}

/// 255 times 127 twice would not fit a word: seven bits of the unsigned ones, then the eighth.
inline __m256i dot_values(__m256i acc, __m256i w, __m256i codes) {
  const __m256i seven = _mm256_and_si256(w, _mm256_set1_epi8(0x7f));
  const __m256i eighth = _mm256_and_si256(_mm256_srli_epi16(w, 7), _mm256_set1_epi8(1));
  return dot(dot(acc, seven, codes, 1), eighth, codes, 128);
}
inline I16 dot_values(I16 acc, int w, Line codes) {
  const __m256i quads = _mm256_set1_epi32(w);
  return {dot_values(acc.low, quads, codes.low), dot_values(acc.high, quads, codes.high)};
}

/// Eight integers in [0, 255] as bytes.
inline void store_eight(std::uint8_t* p, __m256 x) {
  const __m256i n = _mm256_cvtps_epi32(x);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
inline void store_codes(std::uint8_t* p, F16 x) {
  store_eight(p, x.low);
  store_eight(p + 8, x.high);
}

}  // namespace
}  // namespace tender::kernels

// The lanes come first: the bodies are written against them.
// clang-format off
#include "kernels/lanes/exp_body.h"
#include "kernels/lanes/softmax_body.h"
#include "kernels/attention_i8/attention_i8_body.h"
// clang-format on

namespace tender::kernels {

void attention_i8_avx2(const AttentionI8Task& task) { attention_i8_body(task); }

}  // namespace tender::kernels
