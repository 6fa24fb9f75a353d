// Integer products of 512 x 2048 x 2048 beside the peak of vpdpbusd: one group, eight groups with a
// shift between them, eight groups dequantized one by one, codes shifted beforehand; one row
// (decode). One thread; GOP/s counts a multiply and an add.

#include <benchmark/benchmark.h>

#include <vector>

#include "base/rng.h"
#include "kernels/gemm_i8/gemm_i8.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tender::kernels {
namespace {

constexpr std::size_t kIn = 2048;
constexpr std::size_t kOut = 2048;

struct Problem {
  Problem(const GemmI8Kernel& kernel, std::size_t rows, std::uint32_t groups)
      : panels(kOut, kIn / 4, kernel.offset_panels),
        codes(rows * kIn * (kernel.width == CodeWidth::bytes ? 1 : 2)),
        corrections(rows, 0),
        steps(rows, 1e-3F),
        scales(kOut, 1e-3F),
        y(rows * kOut) {
    Rng rng(1, "gemm_i8 bench");
    for (auto& code : codes) code = static_cast<std::uint8_t>(rng.next());
    std::vector<std::int8_t> weights(kIn);
    std::vector<std::uint32_t> slots(kIn);
    for (std::uint32_t s = 0; s < kIn; ++s) slots[s] = s;
    for (std::size_t n = 0; n < kOut; ++n) {
      for (auto& w : weights) w = static_cast<std::int8_t>(rng.next());
      panels.put(n, weights, slots);
    }
    const std::uint32_t quads = kIn / 4 / groups;
    for (std::uint32_t g = 0; g < groups; ++g)
      segments.push_back({g * quads, g * quads, quads, g == 0 ? 0U : 1U});
    job.codes = codes.data();
    job.stride = kIn;
    job.rows = rows;
    job.corrections = kernel.offset_panels ? corrections.data() : nullptr;
    job.steps = steps.data();
    job.panels = panels.data();
    job.panel_bytes = panels.panel_bytes();
    job.out = kOut;
    job.scales = scales.data();
    job.segments = segments.data();
    job.segment_count = segments.size();
    job.y = y.data();
    job.y_stride = kOut;
  }

  PanelsI8 panels;
  AlignedBuffer<std::uint8_t> codes;
  std::vector<std::int32_t> corrections;
  std::vector<float> steps, scales, y;
  std::vector<Segment> segments;
  GemmI8Job job;
};

void rate(benchmark::State& state, std::size_t rows) {
  const double operations = 2.0 * static_cast<double>(rows) * kIn * kOut;
  state.counters["GOP/s"] =
      benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["weights GB/s"] = benchmark::Counter(
      static_cast<double>(kIn * kOut) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void product(benchmark::State& state, const GemmI8Kernel& kernel, std::size_t rows,
             std::uint32_t groups) {
  Problem problem(kernel, rows, groups);
  for (auto _ : state) {
    kernel.run(problem.job, 0, problem.panels.panels());
    benchmark::DoNotOptimize(problem.y.data());
  }
  rate(state, rows);
}

/// What the shift replaces: every group dequantized and added in float32.
void explicit_groups(benchmark::State& state, const GemmI8Kernel& kernel, std::size_t rows,
                     std::uint32_t groups) {
  Problem problem(kernel, rows, groups);
  std::vector<std::int32_t> sums(rows * kOut);
  GemmI8Job job = problem.job;
  job.segment_count = 1;
  job.sums = sums.data();
  job.sums_stride = kOut;
  for (auto _ : state) {
    for (std::uint32_t g = 0; g < groups; ++g) {
      job.segments = &problem.segments[g];
      kernel.run(job, 0, problem.panels.panels());
      const float step = 1e-3F / static_cast<float>(1U << g);
      for (std::size_t i = 0; i < sums.size(); ++i)
        problem.y[i] += static_cast<float>(sums[i]) * step;
    }
    benchmark::DoNotOptimize(problem.y.data());
  }
  rate(state, rows);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) void vpdpbusd_peak(benchmark::State& state) {
  constexpr int kChains = 12, kSteps = 4096;  // 12 > latency 5 * 2 a cycle; more are not unrolled
  __m512i sum[kChains];
  for (auto& s : sum) s = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (auto _ : state) {
    for (int i = 0; i < kSteps; ++i) {
      for (auto& s : sum) s = _mm512_dpbusd_epi32(s, a, b);
      __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (auto& s : sum) __asm__ volatile("" : "+v"(s));
  }
  state.counters["GOP/s"] = benchmark::Counter(128.0 * kChains * kSteps * 1e-9,
                                               benchmark::Counter::kIsIterationInvariantRate);
}
#endif

void register_kernels(std::span<const GemmI8Kernel> kernels, const std::string& family) {
  for (const GemmI8Kernel& kernel : kernels) {
    if (!contains(host_isa(), kernel.needs)) continue;
    const std::string name = family + "/" + std::string(kernel.name);
    const std::size_t rows = kernel.needs == Isa::scalar ? 16 : 512;
    const auto bench = [&](const std::string& what, auto&& body) {
      benchmark::RegisterBenchmark((name + "/" + what).c_str(), body);
    };
    const std::string shape = std::to_string(rows) + "x2048x2048";
    bench(shape + "/plain", [=](benchmark::State& s) { product(s, kernel, rows, 1); });
    bench(shape + "/8 groups, shifted", [=](benchmark::State& s) { product(s, kernel, rows, 8); });
    bench(shape + "/8 groups, dequantized",
          [=](benchmark::State& s) { explicit_groups(s, kernel, rows, 8); });
    bench("1x2048x2048/8 groups, shifted", [=](benchmark::State& s) { product(s, kernel, 1, 8); });
  }
}

const bool registered = [] {
#if defined(__x86_64__)
  if (contains(host_isa(), Isa::vnni))
    benchmark::RegisterBenchmark("gemm_i8/peak of vpdpbusd", vpdpbusd_peak);
#endif
  register_kernels(gemm_i8_kernels(), "gemm_i8");
  register_kernels(gemm_i16_kernels(), "gemm_i16");
  return true;
}();

}  // namespace
}  // namespace tender::kernels
