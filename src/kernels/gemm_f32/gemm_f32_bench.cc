#include "kernels/gemm_f32/gemm_f32.h"

#include <cblas.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "kernels/bench_support.h"
#include "kernels/gemm_f32/two_sums_bench.h"

namespace tender::kernels {
namespace {

struct Problem {
  std::size_t rows, out, in;
  double operations() const { return 2.0 * static_cast<double>(rows * out * in); }
  std::string name() const {
    return std::to_string(rows) + "x" + std::to_string(out) + "x" + std::to_string(in);
  }
};

/// Weights enough that a round through them does not fit any cache, if `cold`.
std::vector<PanelsF32> weights(const Problem& p, bool cold) {
  const Matrix w = bench::noise(p.out, p.in);
  const std::size_t bytes = p.out * p.in * sizeof(float);
  std::vector<PanelsF32> all(cold ? (std::size_t{256} << 20U) / bytes + 1 : 1);
  for (PanelsF32& panels : all) {
    panels = PanelsF32({p.out, p.in});
    panels.put(0, w.view());
  }
  return all;
}

void gemm(benchmark::State& state, const GemmF32Kernel& kernel, const Problem& p,
          std::size_t threads) {
  ThreadPool pool(threads);
  const Matrix x = bench::noise(p.rows, p.in);
  const std::vector<PanelsF32> w = weights(p, p.rows == 1);
  Matrix y(p.rows, p.out);
  gemm_f32(kernel, x.view(), w[0], {}, y.view(), pool);
  const bool decode = p.rows == 1;
  bench::Share share(decode ? bench::read_bandwidth : bench::fma_peak, pool);
  std::size_t next = 0;
  for (auto _ : state) {
    gemm_f32(kernel, x.view(), w[next], {}, y.view(), pool);
    benchmark::DoNotOptimize(y.span().data());
    next = next + 1 == w.size() ? 0 : next + 1;
  }
  if (decode)
    share.report(state, static_cast<double>(w[0].bytes()), "GB/s", "%_of_read");
  else
    share.report(state, p.operations(), "GFLOP/s", "%_of_peak");
}

void openblas(benchmark::State& state, const Problem& p, std::size_t threads) {
  ThreadPool pool(threads);
  openblas_set_num_threads(static_cast<int>(threads));
  const Matrix x = bench::noise(p.rows, p.in), w = bench::noise(p.out, p.in);
  Matrix y(p.rows, p.out);
  const auto rows = static_cast<int>(p.rows), out = static_cast<int>(p.out),
             in = static_cast<int>(p.in);
  const auto run = [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, out, in, 1, x.span().data(), in,
                w.span().data(), in, 0, y.span().data(), out);
  };
  run();
  // Its threads look for work for some 20 ms before they sleep; a probe beside them would see half
  // a CPU.
  const auto idle = [](ThreadPool& probed) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return bench::fma_peak(probed);
  };
  bench::Share share(idle, pool);
  for (auto _ : state) run();
  share.report(state, p.operations(), "GFLOP/s", "%_of_peak");
}

void order(benchmark::State& state, bench::OrderKernel kernel) {
  ThreadPool pool(1);
  const Matrix x = bench::noise(8, 256), w = bench::noise(256, 48);
  Matrix y(8, 48);
  bench::Share share(bench::fma_peak, pool);
  for (auto _ : state) {
    kernel(x.span().data(), w.span().data(), y.span().data());
    benchmark::DoNotOptimize(y.span().data());
  }
  share.report(state, 2.0 * 8 * 48 * 256, "GFLOP/s", "%_of_peak");
}

const bool registered = [] {
  const Problem large{512, 2048, 2048};
  const std::vector<Problem> small = {
      {512, 576, 576}, {512, 192, 576}, {512, 1536, 576}, {512, 576, 1536}, {64, 576, 576}};
  const std::vector<Problem> decode = {
      {1, 2048, 2048}, {1, 576, 576}, {1, 1536, 576}, {1, 576, 1536}, {1, 49152, 576}};
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
  };
  for (const GemmF32Kernel& kernel : gemm_f32_kernels()) {
    if (kernel.needs == Isa::scalar || !contains(detected_isa(), kernel.needs)) continue;
    for (const auto& list : {std::vector{large}, small, decode})
      for (const Problem& p : list)
        for (const std::size_t threads : {1U, 2U})
          add("gemm_f32/" + std::string(kernel.name) + "/" + p.name() +
                  "/threads:" + std::to_string(threads),
              [=](benchmark::State& state) { gemm(state, kernel, p, threads); });
  }
  if (contains(detected_isa(), Isa::avx512))
    for (const auto& [name, kernel] : bench::order_kernels())
      add("order/avx512/" + std::string(name),
          [=](benchmark::State& state) { order(state, kernel); });
  for (const Problem& p : {large, small[0], small[2]})
    for (const std::size_t threads : {1U, 2U})
      add("openblas/" + std::string(openblas_get_corename()) + "/" + p.name() +
              "/threads:" + std::to_string(threads),
          [=](benchmark::State& state) { openblas(state, p, threads); });
  return true;
}();

}  // namespace
}  // namespace tender::kernels
