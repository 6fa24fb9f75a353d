#include "base/thread_pool.h"

#include <benchmark/benchmark.h>

namespace tender {
namespace {

/// A fork and join without work: what every fused or unfused step of decoding pays.
void fork_join(benchmark::State& state) {
  ThreadPool pool(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state)
    pool.for_each_part(pool.threads(),
                       [](std::size_t begin, std::size_t) { benchmark::DoNotOptimize(begin); });
}
BENCHMARK(fork_join)->Arg(1)->Arg(2)->Arg(4)->UseRealTime();

}  // namespace
}  // namespace tender
