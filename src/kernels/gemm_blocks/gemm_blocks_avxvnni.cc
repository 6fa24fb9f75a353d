#include "kernels/gemm_blocks/gemm_blocks_ymm.h"

namespace tender::kernels::isa {
namespace {

struct VnniDot {
  static constexpr bool kTakesZero = false;
  static __m256i add(__m256i sum, __m256i part) { return _mm256_add_epi32(sum, part); }
  static __m256i multiply_nibbles(__m256i sum, __m256i u, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, u, x);
  }
  static __m256i multiply_bytes(__m256i sum, __m256i u, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, u, x);
  }
};

}  // namespace

void gemm_blocks_avxvnni(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  ymm_run<VnniDot>(job, begin, end);
}

}  // namespace tender::kernels::isa
