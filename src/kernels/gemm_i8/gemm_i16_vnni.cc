#include <immintrin.h>

namespace {
inline __m512i multiply_add(__m512i sum, __m512i a, __m512i b) {
  return _mm512_dpwssd_epi32(sum, a, b);
}
}  // namespace

#include "kernels/gemm_i8/gemm_i16_zmm.h"

namespace tender::kernels::isa {

void gemm_i16_vnni(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  run(job, begin, end);
}

}  // namespace tender::kernels::isa
