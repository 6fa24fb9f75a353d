#include "kernels/lanes/avx2.h"

namespace tender::kernels {
namespace {

/// The stages h = 1, 2, 4 on eight lanes: v[j] + v[j ^ h] below, v[j ^ h] - v[j] in the upper ones.
inline __m256 eight(__m256 v) {
  __m256 other = _mm256_permute_ps(v, 0b10'11'00'01);
  v = _mm256_blend_ps(_mm256_add_ps(v, other), _mm256_sub_ps(other, v), 0xaa);
  other = _mm256_permute_ps(v, 0b01'00'11'10);
  v = _mm256_blend_ps(_mm256_add_ps(v, other), _mm256_sub_ps(other, v), 0xcc);
  other = _mm256_permute2f128_ps(v, v, 1);
  return _mm256_blend_ps(_mm256_add_ps(v, other), _mm256_sub_ps(other, v), 0xf0);
}

inline F16 butterflies_of(F16 a) {
  const __m256 low = eight(a.low), high = eight(a.high);
  return {_mm256_add_ps(low, high), _mm256_sub_ps(low, high)};
}

}  // namespace
}  // namespace tender::kernels

// The tile is written against the lanes above.
// clang-format off
#include "kernels/lanes/tile_body.h"
#include "kernels/hadamard/hadamard_body.h"
// clang-format on

namespace tender::kernels::isa {
void rotate_row_avx2(const HadamardJob& job, const float* x, float* t, float* y) {
  rotate_row(job, x, t, y);
}
}  // namespace tender::kernels::isa
