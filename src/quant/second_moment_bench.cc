// The second moment of a window of rows, once for every window and site that GPTQ quantizes, on two
// threads. One half of the products is computed; the counter counts both.

#include "quant/second_moment.h"

#include <benchmark/benchmark.h>

#include "base/rng.h"

namespace tender::quant {
namespace {

void second_moment(benchmark::State& state) {
  const auto in = static_cast<std::size_t>(state.range(0));
  Rng rng(3, "compensation bench");
  Matrix rows(2048, in);
  for (float& value : rows.span()) value = rng.normal();
  ThreadPool pool(2);
  SecondMoment moment(in, host_isa());
  for (auto _ : state) moment.add(rows.view(), pool);
  state.counters["multiply-adds/s, both halves"] = benchmark::Counter(
      static_cast<double>(rows.rows() * in * in), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(second_moment)->Arg(576)->Arg(1536)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace tender::quant
