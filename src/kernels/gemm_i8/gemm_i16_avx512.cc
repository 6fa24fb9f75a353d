#include <immintrin.h>

namespace {
// No pair saturates: words times 8-bit weights stay below 2^23.
inline __m512i multiply_add(__m512i sum, __m512i a, __m512i b) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
}  // namespace

#include "kernels/gemm_i8/gemm_i16_zmm.h"

namespace tender::kernels::isa {

void gemm_i16_avx512(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  run(job, begin, end);
}

}  // namespace tender::kernels::isa
