#include "kernels/lanes/avx512.h"

namespace tender::kernels {
namespace {

/// v[j] + v[j ^ h] in lanes without the bit h, v[j ^ h] - v[j] in those of `upper`.
inline __m512 stage(__m512 v, __m512 swapped, __mmask16 upper) {
  const __m512 one = _mm512_set1_ps(1);
  return _mm512_fmadd_ps(v, _mm512_mask_sub_ps(one, upper, _mm512_setzero_ps(), one), swapped);
}

inline F16 butterflies_of(F16 a) {
  __m512 v = a.all;
  v = stage(v, _mm512_permute_ps(v, 0b10'11'00'01), 0xaaaa);
  v = stage(v, _mm512_permute_ps(v, 0b01'00'11'10), 0xcccc);
  v = stage(v, _mm512_shuffle_f32x4(v, v, 0b10'11'00'01), 0xf0f0);
  return {stage(v, _mm512_shuffle_f32x4(v, v, 0b01'00'11'10), 0xff00)};
}

}  // namespace
}  // namespace tender::kernels

// The tile is written against the lanes above.
// clang-format off
#include "kernels/lanes/tile_body.h"
#include "kernels/hadamard/hadamard_body.h"
// clang-format on

namespace tender::kernels::isa {
void rotate_row_avx512(const HadamardJob& job, const float* x, float* t, float* y) {
  rotate_row(job, x, t, y);
}
}  // namespace tender::kernels::isa
