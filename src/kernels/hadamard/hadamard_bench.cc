// The rotation of 512 rows beside the integer product that follows it (quant/site_bench.cc). One
// thread.

#include "kernels/hadamard/hadamard.h"

#include <benchmark/benchmark.h>

#include <string>

#include "kernels/bench_support.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kRows = 512;

void rotate(benchmark::State& state, const HadamardKernel& kernel, std::size_t width) {
  const Matrix x = bench::noise(kRows, width);
  const Hadamard rotation(width, 1);
  const HadamardJob job = rotation.job();
  AlignedBuffer<float> t(width), y(width);
  for (auto _ : state)
    for (std::size_t m = 0; m < kRows; ++m) {
      kernel.rotate(job, x.row(m).data(), t.data(), y.data());
      benchmark::DoNotOptimize(y.data());
    }
  state.counters["Gfloat/s"] = benchmark::Counter(static_cast<double>(kRows * width) * 1e-9,
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  for (const HadamardKernel& kernel : hadamard_kernels()) {
    if (!contains(detected_isa(), kernel.needs)) continue;
    for (const std::size_t width : {576U, 1536U, 2048U})
      benchmark::RegisterBenchmark(
          ("hadamard/" + std::to_string(width) + "/" + std::string(kernel.name)).c_str(),
          [=](benchmark::State& state) { rotate(state, kernel, width); })
          ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace tender::kernels
