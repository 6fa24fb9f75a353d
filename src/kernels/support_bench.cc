#include <cblas.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>

#include "base/cpu.h"
#include "base/rng.h"
#include "kernels/bench_support.h"
#include "kernels/limits/limits.h"

namespace tender::kernels::bench {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if defined(__x86_64__)
// Independent chains enough for any latency, 24 of zmm or 12 of ymm, two rounds per turn of the
// loop. The higher registers are nobody's in a file without ISA flags.
void fma_loop(bool wide, std::size_t turns) {
  if (wide)
    __asm__ volatile(
        "1:\n.rept 2\n"
        ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
        "vfmadd231ps %%zmm31, %%zmm30, %%zmm\\r\n.endr\n.endr\n"
        "dec %0\njnz 1b\nvzeroupper\n"
        : "+r"(turns)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
          "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  else
    __asm__ volatile(
        "1:\n.rept 4\n.irp r,0,1,2,3,4,5,6,7,8,9,10,11\n"
        "vfmadd231ps %%ymm15, %%ymm14, %%ymm\\r\n.endr\n.endr\n"
        "dec %0\njnz 1b\nvzeroupper\n"
        : "+r"(turns)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
          "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
#endif

}  // namespace

double fma_peak(ThreadPool& pool) {
#if defined(__x86_64__)
  if (!contains(detected_isa(), Isa::avx2)) return 0;
  const bool wide = contains(detected_isa(), Isa::avx512);
  constexpr std::size_t kTurns = 50'000;  // of 48 instructions
  // The highest of the run: a probe that a foreign job halved would flatter what it is held
  // against.
  static std::map<std::size_t, double> highest;
  double& best = highest[pool.threads()];
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double start = seconds();
    pool.for_each_part(pool.threads(), [&](std::size_t, std::size_t) { fma_loop(wide, kTurns); });
    const double took = seconds() - start;
    best = std::max(best,
                    48.0 * kTurns * (wide ? 32 : 16) * static_cast<double>(pool.threads()) / took);
  }
  return best;
#else
  return 0;
#endif
}

double read_bandwidth(ThreadPool& pool) {
  static const AlignedBuffer<std::uint8_t> memory = [] {
    AlignedBuffer<std::uint8_t> buffer(std::size_t{256} << 20U);
    buffer.fill(1);
    return buffer;
  }();
  return read_rate(memory.span(), pool);
}

Matrix noise(std::size_t rows, std::size_t cols) {
  Rng rng(rows * 31 + cols, "bench");
  Matrix m(rows, cols);
  for (float& x : m.span()) x = static_cast<float>(rng.uniform()) - 0.5F;
  return m;
}

Share::Share(Probe probe, ThreadPool& pool)
    : probe_(probe), pool_(pool), before_(probe(pool)), start_(seconds()) {}

void Share::report(benchmark::State& state, double work, const char* rate, const char* share) {
  const double took = (seconds() - start_) / static_cast<double>(state.iterations());
  const double limit = std::max(before_, probe_(pool_));
  state.counters[rate] = work / took / 1e9;
  state.counters[share] = 100 * work / took / limit;
}

}  // namespace tender::kernels::bench

int main(int argc, char** argv) {
  // OpenBLAS chooses its kernel while it is loaded: without the variable it takes the CPU's.
  if (std::getenv("OPENBLAS_CORETYPE") != nullptr) {
    unsetenv("OPENBLAS_CORETYPE");
    execv("/proc/self/exe", argv);
    return 1;
  }
  benchmark::AddCustomContext("cpu", tender::cpu_name());
  benchmark::AddCustomContext("isa", to_string(tender::host_isa()));
  benchmark::AddCustomContext("openblas_kernel", openblas_get_corename());
  benchmark::AddCustomContext("openblas_config", openblas_get_config());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
