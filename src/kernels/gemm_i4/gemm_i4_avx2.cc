#include <immintrin.h>

namespace {
// Nothing saturates in 16 bits: two pairs of a 4-bit weight and a digit are 4 * 15 * 128 at most.
inline __m256i add_quads(__m256i sum, __m256i low, __m256i first, __m256i high, __m256i second) {
  const __m256i pairs =
      _mm256_add_epi16(_mm256_maddubs_epi16(low, first), _mm256_maddubs_epi16(high, second));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
}  // namespace

#include "kernels/gemm_i4/gemm_i4_ymm.h"

namespace tender::kernels::isa {

void gemm_i4_avx2(const GemmI4Job& job, std::size_t begin, std::size_t end) {
  run(job, begin, end);
}

}  // namespace tender::kernels::isa
