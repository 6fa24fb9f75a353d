#include <immintrin.h>

#include "kernels/gemm_i8/amx_body.h"
#include "kernels/gemm_i8/amx_configuration.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/gemm_i8/store_zmm.h"

namespace tender::kernels::isa {
namespace {

// Intrinsics of tiles take their numbers as tokens: sums are tiles 0 to 3, codes 4 and 5, weights 6
// and 7.
//
// To g++ 12 the instructions hardly touch memory: it takes the configuration for 8 bytes long and
// nothing else for read or written, and would drop or move stores to scratch. The configuration is
// constant, and barriers stand around whatever reads or writes memory.
class AmxTiles {
 public:
  AmxTiles() {
    barrier();
    _tile_loadconfig(&kTileConfiguration);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  template <int I>
  void load_codes(const std::uint8_t* from, std::size_t stride) {
    barrier();
    if constexpr (I == 0)
      _tile_loadd(4, from, static_cast<long>(stride));
    else
      _tile_loadd(5, from, static_cast<long>(stride));
  }

  template <int J>
  void load_weights(const std::uint8_t* from) {
    barrier();
    if constexpr (J == 0)
      _tile_loadd(6, from, 64);
    else
      _tile_loadd(7, from, 64);
  }

  template <int I, int J>
  void zero() {
    if constexpr (I == 0 && J == 0) _tile_zero(0);
    if constexpr (I == 0 && J == 1) _tile_zero(1);
    if constexpr (I == 1 && J == 0) _tile_zero(2);
    if constexpr (I == 1 && J == 1) _tile_zero(3);
  }

  template <int I, int J, bool Signed>
  void multiply() {
    if constexpr (Signed) {
      if constexpr (I == 0 && J == 0) _tile_dpbsud(0, 4, 6);
      if constexpr (I == 0 && J == 1) _tile_dpbsud(1, 4, 7);
      if constexpr (I == 1 && J == 0) _tile_dpbsud(2, 5, 6);
      if constexpr (I == 1 && J == 1) _tile_dpbsud(3, 5, 7);
    } else {
      if constexpr (I == 0 && J == 0) _tile_dpbusd(0, 4, 6);
      if constexpr (I == 0 && J == 1) _tile_dpbusd(1, 4, 7);
      if constexpr (I == 1 && J == 0) _tile_dpbusd(2, 5, 6);
      if constexpr (I == 1 && J == 1) _tile_dpbusd(3, 5, 7);
    }
  }

  template <int I, int J>
  void store(std::int32_t* to) {
    constexpr long kStride = kSumStride * sizeof(std::int32_t);
    if constexpr (I == 0 && J == 0) _tile_stored(0, to, kStride);
    if constexpr (I == 0 && J == 1) _tile_stored(1, to, kStride);
    if constexpr (I == 1 && J == 0) _tile_stored(2, to, kStride);
    if constexpr (I == 1 && J == 1) _tile_stored(3, to, kStride);
    barrier();
  }

  static void fold(std::int32_t* to, std::uint32_t shift, const std::int32_t* from,
                   std::size_t count) {
    const __m128i by = _mm_cvtsi64_si128(static_cast<long long>(shift));
    for (std::size_t i = 0; i < count; i += 16) {
      __m512i sum = _mm512_sll_epi32(_mm512_load_si512(to + i), by);
      if (from != nullptr) sum = _mm512_add_epi32(sum, _mm512_load_si512(from + i));
      _mm512_store_si512(to + i, sum);
    }
  }

  static void finish(const GemmI8Job& job, std::size_t row, std::size_t output,
                     const std::int32_t* sums) {
    kernels::store(job, row, output, _mm512_load_si512(sums));
  }

 private:
  static void barrier() { __asm__ volatile("" ::: "memory"); }
};

/// Up to so many rows, reading the weights is what takes time, and a tile would be half empty.
constexpr std::size_t kFewRows = 8;

}  // namespace

void gemm_i8_amx(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  if (job.rows <= kFewRows) return gemm_i8_vnni(job, begin, end);
  AmxTiles tiles;
  if (job.codes_signed)
    multiply_tiles<true>(tiles, job, begin, end);
  else
    multiply_tiles<false>(tiles, job, begin, end);
}

}  // namespace tender::kernels::isa
