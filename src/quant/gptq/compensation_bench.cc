// What GPTQ adds to quantizing a site: the factorization, once per site, and the sweep of its
// outputs, on one thread. Peak of the sweep: two multiply-adds of two doubles per cycle.

#include <benchmark/benchmark.h>

#include "base/rng.h"
#include "quant/gptq/compensation.h"

namespace tender::quant {
namespace {

MatrixOf<double> moment(std::size_t in) {
  Rng rng(1, "compensation bench");
  MatrixOf<double> h(in, in);
  for (std::size_t a = 0; a < in; ++a)
    for (std::size_t b = 0; b <= a; ++b)
      h(a, b) = h(b, a) = a == b ? static_cast<double>(in) : static_cast<double>(rng.normal());
  return h;
}

void factorize(benchmark::State& state) {
  const auto in = static_cast<std::size_t>(state.range(0));
  const MatrixOf<double> h = moment(in);
  for (auto _ : state) benchmark::DoNotOptimize(Compensation(h.view(), {}).added());
}
BENCHMARK(factorize)->Arg(576)->Arg(1536)->Arg(4096)->Unit(benchmark::kMillisecond);

void sweep(benchmark::State& state) {
  const auto out = static_cast<std::size_t>(state.range(0));
  const auto in = static_cast<std::size_t>(state.range(1));
  const MatrixOf<double> h = moment(in);
  const Compensation compensation(h.view(), {});
  Rng rng(2, "compensation bench");
  Matrix w(out, in);
  for (float& value : w.span()) value = rng.normal();
  ThreadPool pool(1);
  const auto round = [](const SweepColumns& columns, std::size_t, const double* values,
                        double* rounded) {
    for (std::size_t i = 0; i < columns.outputs; ++i)
      rounded[i] = static_cast<double>(static_cast<int>(values[i] * 4)) / 4;
  };
  const auto enter = [](const SweepColumns&, std::size_t, std::size_t, const double*) {};
  for (auto _ : state)
    benchmark::DoNotOptimize(sweep_columns(compensation, w.view(), 64, enter, round, pool).data());
  state.counters["multiply-adds/s"] = benchmark::Counter(
      0.5 * static_cast<double>(out * in * in), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(sweep)
    ->Args({576, 1536})
    ->Args({3072, 576})
    ->Args({960, 576})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tender::quant
