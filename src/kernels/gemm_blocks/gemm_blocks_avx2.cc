#include "kernels/gemm_blocks/gemm_blocks_ymm.h"

namespace tender::kernels::isa {
namespace {

// vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits and saturates: nibbles
// are far from it, even those of a whole block (8 * 2 * 15 * 127 = 30480). Bytes are not, unless
// the unsigned one is a magnitude: |w| times x with the sign of w, 2 * 128 * 127 = 32512.
struct MaddDot {
  static constexpr bool kTakesZero = true;
  static __m256i add(__m256i sum, __m256i pairs) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static __m256i multiply_nibbles(__m256i words, __m256i u, __m256i x) {
    return _mm256_add_epi16(words, _mm256_maddubs_epi16(u, x));
  }
  static __m256i multiply_bytes(__m256i sum, __m256i u, __m256i x) {
    const __m256i w = _mm256_xor_si256(u, _mm256_set1_epi8(static_cast<char>(0x80)));
    return add(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)));
  }
};

}  // namespace

void gemm_blocks_avx2(const GemmBlocksJob& job, std::size_t begin, std::size_t end) {
  ymm_run<MaddDot>(job, begin, end);
}

}  // namespace tender::kernels::isa
