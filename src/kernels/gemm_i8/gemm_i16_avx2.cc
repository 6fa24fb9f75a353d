#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/gemm_i8/store_ymm.h"

// vpmaddwd on weights widened to 16 bits: exact, where vpmaddubsw would saturate. A vector holds 4
// outputs with two partial sums each. 3 rows x 1 panel: 12 accumulators, 3 broadcasts and one
// vector of weights fill the 16 registers. Bound by the multiply and the add that follows it.

namespace tender::kernels::isa {
namespace {

constexpr std::size_t kMaxRows = 3;
constexpr std::size_t kBlockBytes = std::size_t{192} << 10U;

inline __m256i broadcast(const std::int16_t* codes) {
  long long quad = 0;
  std::memcpy(&quad, codes, sizeof quad);
  return _mm256_set1_epi64x(quad);
}

/// Outputs 0 … 7 from two vectors of pairs.
inline __m256i add_pairs(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0b11'01'10'00);
}

template <std::size_t Rows>
void tile(const GemmI8Job& job, std::size_t row, std::size_t panel) {
  const auto* codes = static_cast<const std::int16_t*>(job.codes) + row * job.stride;
  const std::uint8_t* weights = job.panels + (panel - job.first_panel) * job.panel_bytes;
  __m256i sum[Rows][4];
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 4; ++h) sum[r][h] = _mm256_setzero_si256();
  for (std::size_t s = 0; s < job.segment_count; ++s) {
    const Segment segment = job.segments[s];
    if (s != 0 && segment.shift != 0) {
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(segment.shift));
      for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t h = 0; h < 4; ++h) sum[r][h] = _mm256_sll_epi32(sum[r][h], shift);
    }
    const std::int16_t* c = codes + std::size_t{4} * segment.codes;
    const std::uint8_t* w = weights + std::size_t{64} * segment.panel;
    for (std::size_t q = 0; q < segment.quads; ++q, c += 4, w += 64) {
      __m256i x[Rows];
      for (std::size_t r = 0; r < Rows; ++r) x[r] = broadcast(c + r * job.stride);
      for (std::size_t h = 0; h < 4; ++h) {
        const __m256i wide =
            _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * h)));
        for (std::size_t r = 0; r < Rows; ++r)
          sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(wide, x[r]));
      }
    }
  }
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t h = 0; h < 2; ++h)
      store(job, row + r, panel * 16 + 8 * h, add_pairs(sum[r][2 * h], sum[r][2 * h + 1]));
}

using TileFn = void (*)(const GemmI8Job&, std::size_t, std::size_t);
constexpr TileFn kTiles[kMaxRows] = {tile<1>, tile<2>, tile<3>};

}  // namespace

void gemm_i16_avx2(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  std::size_t block = kBlockBytes / (2 * job.stride + 1) / kMaxRows * kMaxRows;
  if (block < kMaxRows) block = kMaxRows;
  for (std::size_t first = 0; first < job.rows; first += block) {
    const std::size_t last = first + block < job.rows ? first + block : job.rows;
    for (std::size_t p = begin; p < end; ++p)
      for (std::size_t m = first; m < last; m += kMaxRows)
        kTiles[(last - m < kMaxRows ? last - m : kMaxRows) - 1](job, m, p);
  }
}

}  // namespace tender::kernels::isa
