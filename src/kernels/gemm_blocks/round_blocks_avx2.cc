#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_blocks/gemm_blocks.h"
#include "kernels/gemm_blocks/round_blocks_step.h"

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kParts = PanelsBlocks::kBlock / 8;

inline std::int32_t sum_of(__m256i x) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

inline std::uint32_t largest_of(__m256i x) {
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<std::uint32_t>(
      _mm_cvtsi128_si32(_mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1))));
}

/// @param x  32 values
inline void round_block(const float* x, int qmax, std::int8_t* codes, float* step,
                        std::int32_t* sums) {
  const __m256i magnitudes = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  for (std::size_t i = 0; i < kParts; ++i)
    largest = _mm256_max_epu32(
        largest, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), magnitudes));
  if (!begin_block(largest_of(largest), qmax, codes, step, sums)) return;
  const __m256 by = _mm256_set1_ps(*step);
  const __m256i high = _mm256_set1_epi32(qmax), low = _mm256_set1_epi32(-qmax);
  __m256i code[kParts];
  for (std::size_t i = 0; i < kParts; ++i) {
    const __m256i nearest = _mm256_cvtps_epi32(_mm256_div_ps(_mm256_loadu_ps(x + 8 * i), by));
    code[i] = _mm256_max_epi32(_mm256_min_epi32(nearest, high), low);
  }
  sums[0] = sum_of(_mm256_add_epi32(code[0], code[1]));
  sums[1] = sum_of(_mm256_add_epi32(code[2], code[3]));
  // packing works within halves of 128 bits: groups of four come out as 0 2 4 6 1 3 5 7
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]),
                                            _mm256_packs_epi32(code[2], code[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes),
                      _mm256_permutevar8x32_epi32(packed, order));
}

}  // namespace

void round_blocks_avx2(const float* x, std::size_t in, int qmax, std::int8_t* codes, float* steps,
                       std::int32_t* sums) {
  std::size_t b = 0;
  for (; (b + 1) * PanelsBlocks::kBlock <= in; ++b)
    round_block(x + b * PanelsBlocks::kBlock, qmax, codes + b * PanelsBlocks::kBlock, steps + b,
                sums + 2 * b);
  if (const std::size_t left = in - b * PanelsBlocks::kBlock; left != 0) {
    float last[PanelsBlocks::kBlock] = {};
    std::memcpy(last, x + b * PanelsBlocks::kBlock, left * sizeof(float));
    round_block(last, qmax, codes + b * PanelsBlocks::kBlock, steps + b, sums + 2 * b);
  }
}

}  // namespace tender::kernels::isa
