#include <immintrin.h>

#include "kernels/lanes/avx512.h"

namespace tender::kernels {
namespace {

using I16 = __m512i;
using Line = __m512i;
constexpr int kKeyOffset = 128;

inline I16 splat(int n) { return _mm512_set1_epi32(n); }
inline F16 to_float(I16 n) { return {_mm512_cvtepi32_ps(n)}; }
inline Line load_line(const std::uint8_t* p) { return _mm512_load_si512(p); }
inline Line low(Line line) { return _mm512_and_si512(line, _mm512_set1_epi8(0x0f)); }
inline Line high(Line line) {
  return _mm512_and_si512(_mm512_srli_epi16(line, 4), _mm512_set1_epi8(0x0f));
}
inline Line less_eight(Line line) { return _mm512_sub_epi8(line, _mm512_set1_epi8(8)); }
inline I16 dot_keys(I16 acc, Line codes, int q) {
  return _mm512_dpbusd_epi32(acc, codes, _mm512_set1_epi32(q));
}
inline I16 dot_low_keys(I16 acc, Line codes, int q) { return dot_keys(acc, codes, q); }
inline I16 dot_values(I16 acc, int w, Line codes) {
  return _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(w), codes);
}
inline void store_codes(std::uint8_t* p, F16 x) {
  const __m512i n = _mm512_cvt_roundps_epi32(x.all, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(n));
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

void attention_i8_vnni(const AttentionI8Task& task) { attention_i8_body(task); }

}  // namespace tender::kernels
