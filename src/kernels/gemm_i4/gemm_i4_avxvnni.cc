#include <immintrin.h>

namespace {
inline __m256i add_quads(__m256i sum, __m256i low, __m256i first, __m256i high, __m256i second) {
  return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, low, first), high, second);
}
}  // namespace

#include "kernels/gemm_i4/gemm_i4_ymm.h"

namespace tender::kernels::isa {

void gemm_i4_avxvnni(const GemmI4Job& job, std::size_t begin, std::size_t end) {
  run(job, begin, end);
}

}  // namespace tender::kernels::isa
