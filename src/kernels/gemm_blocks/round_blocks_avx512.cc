#include <immintrin.h>

#include "kernels/gemm_blocks/gemm_blocks.h"
#include "kernels/gemm_blocks/round_blocks_step.h"

namespace tender::kernels::isa {
namespace {

/// To nearest even, and no further than the ends.
inline __m512i codes_of(__m512 x, __m512 step, int qmax) {
  const __m512i code = _mm512_cvtps_epi32(_mm512_div_ps(x, step));
  return _mm512_max_epi32(_mm512_min_epi32(code, _mm512_set1_epi32(qmax)),
                          _mm512_set1_epi32(-qmax));
}

/// Codes, step and sums of a block.
inline void round_block(__m512 low, __m512 high, int qmax, std::int8_t* codes, float* step,
                        std::int32_t* sums) {
  const __m512i magnitudes = _mm512_set1_epi32(0x7fffffff);
  const __m512i largest = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitudes),
                                           _mm512_and_si512(_mm512_castps_si512(high), magnitudes));
  if (!begin_block(_mm512_reduce_max_epu32(largest), qmax, codes, step, sums)) return;
  const __m512 by = _mm512_set1_ps(*step);
  const __m512i first = codes_of(low, by, qmax), second = codes_of(high, by, qmax);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(first));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(second));
  sums[0] = _mm512_reduce_add_epi32(first);
  sums[1] = _mm512_reduce_add_epi32(second);
}

}  // namespace

void round_blocks_avx512(const float* x, std::size_t in, int qmax, std::int8_t* codes, float* steps,
                         std::int32_t* sums) {
  std::size_t b = 0;
  for (; (b + 1) * PanelsBlocks::kBlock <= in; ++b) {
    const float* at = x + b * PanelsBlocks::kBlock;
    round_block(_mm512_loadu_ps(at), _mm512_loadu_ps(at + 16), qmax,
                codes + b * PanelsBlocks::kBlock, steps + b, sums + 2 * b);
  }
  if (const std::size_t left = in - b * PanelsBlocks::kBlock; left != 0) {
    const float* at = x + b * PanelsBlocks::kBlock;
    const std::uint32_t mask = (1U << left) - 1U;
    round_block(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask & 0xffffU), at),
                _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16U), at + 16), qmax,
                codes + b * PanelsBlocks::kBlock, steps + b, sums + 2 * b);
  }
}

}  // namespace tender::kernels::isa
