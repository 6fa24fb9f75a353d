#include "kernels/limits/limits.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>

namespace tender::kernels {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::max(1e-9, std::chrono::duration<double>(Clock::now() - start).count());
}

#if defined(__x86_64__)
constexpr std::array kProbes = {
    PeakProbe{"tdpbusd", Isa::avx2 | Isa::avx512 | Isa::vnni | Isa::amx,
              std::size_t{6} * 16 * 16 * 64 * 2, isa::peak_amx},
    PeakProbe{"vpdpbusd zmm", Isa::avx2 | Isa::avx512 | Isa::vnni, std::size_t{48} * 128,
              isa::peak_vnni},
    PeakProbe{"vpdpbusd ymm", Isa::avx2 | Isa::avxvnni, std::size_t{48} * 64, isa::peak_avxvnni},
    PeakProbe{"vpmaddubsw, vpmaddwd, vpaddd ymm", Isa::avx2, std::size_t{12} * 64, isa::peak_avx2},
};
#endif

/// Any value that depends on all of the memory. Eight sums, so that no addition waits for another.
std::uint64_t read_all(const std::uint8_t* at, std::size_t bytes) {
  constexpr std::size_t kSums = 8;
  std::uint64_t sums[kSums] = {};
  std::size_t i = 0;
  for (; i + sizeof sums <= bytes; i += sizeof sums) {
    std::uint64_t words[kSums];
    std::memcpy(words, at + i, sizeof words);
    for (std::size_t s = 0; s < kSums; ++s) sums[s] += words[s];
  }
  std::uint64_t sum = 0;
  for (; i < bytes; ++i) sum += at[i];
  for (const std::uint64_t each : sums) sum += each;
  return sum;
}

}  // namespace

std::span<const PeakProbe> peak_probes() {
#if defined(__x86_64__)
  return kProbes;
#else
  return {};
#endif
}

IntegerPeak integer_peak(Isa isa, ThreadPool& pool) {
  const auto probes = peak_probes();
  const auto probe =
      std::ranges::find_if(probes, [&](const PeakProbe& p) { return contains(isa, p.needs); });
  if (probe == probes.end()) return {};
  constexpr std::size_t kTurns = 50'000;
  IntegerPeak peak{0, probe->instruction};
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = Clock::now();
    pool.for_each_part(pool.threads(), [&](std::size_t, std::size_t) { probe->run(kTurns); });
    const double operations = static_cast<double>(probe->operations * kTurns * pool.threads());
    peak.operations = std::max(peak.operations, operations / since(start));
  }
  return peak;
}

double read_rate(std::span<const std::uint8_t> memory, ThreadPool& pool) {
  static std::atomic<std::uint64_t> sink{0};  // else nobody would need the sums
  double best = 0;
  for (int repeat = 0; repeat < 6; ++repeat) {
    const auto start = Clock::now();
    pool.for_each_part(memory.size(), 4096, [&](std::size_t begin, std::size_t end) {
      sink.fetch_add(read_all(memory.data() + begin, end - begin), std::memory_order_relaxed);
    });
    if (repeat > 0) best = std::max(best, static_cast<double>(memory.size()) / since(start));
  }
  return best;
}

}  // namespace tender::kernels
