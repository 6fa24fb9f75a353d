#pragma once

// Limits of the machine for the benchmarks of integer products, measured where they run.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tender::kernels::bench {

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if defined(__x86_64__)
/// 24 independent chains out of registers.
inline void dpbusd_loop(std::size_t turns) {
  __asm__ volatile(
      "1:\n.rept 2\n"
      ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
      "vpdpbusd %%zmm31, %%zmm30, %%zmm\\r\n.endr\n.endr\n"
      "dec %0\njnz 1b\nvzeroupper\n"
      : "+r"(turns)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

__attribute__((target("avx512f"))) inline void read_wide(const std::uint8_t* at,
                                                         std::size_t bytes) {
  __m512i any[4] = {};
  for (std::size_t i = 0; i + 256 <= bytes; i += 256)
    for (std::size_t j = 0; j < 4; ++j)
      any[j] = _mm512_or_si512(any[j], _mm512_loadu_si512(at + i + 64 * j));
  for (auto& v : any) __asm__ volatile("" : "+v"(v));
}
#endif

/// Operations per second of vpdpbusd, a multiply and an add each; 0 without AVX-512 VNNI. The best
/// of five.
inline double dpbusd_peak(ThreadPool& pool) {
#if defined(__x86_64__)
  if (!contains(detected_isa(), Isa::vnni)) return 0;
  constexpr std::size_t kTurns = 50'000;  // of 48 instructions
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double start = seconds_now();
    pool.for_each_part(pool.threads(), [](std::size_t, std::size_t) { dpbusd_loop(kTurns); });
    best = std::max(
        best, 48.0 * kTurns * 128 * static_cast<double>(pool.threads()) / (seconds_now() - start));
  }
  return best;
#else
  return 0;
#endif
}

/// Bytes per second at which the threads read this memory, each its part; 0 without AVX-512. The
/// best of five, after one that is not counted.
inline double read_rate(ThreadPool& pool, std::span<const std::uint8_t> memory) {
#if defined(__x86_64__)
  if (!contains(detected_isa(), Isa::avx512)) return 0;
  double best = 0;
  for (int repeat = 0; repeat < 6; ++repeat) {
    const double start = seconds_now();
    pool.for_each_part(memory.size(), 4096, [&](std::size_t begin, std::size_t end) {
      read_wide(memory.data() + begin, end - begin);
    });
    if (repeat > 0)
      best = std::max(best, static_cast<double>(memory.size()) / (seconds_now() - start));
  }
  return best;
#else
  return 0;
#endif
}

}  // namespace tender::kernels::bench
