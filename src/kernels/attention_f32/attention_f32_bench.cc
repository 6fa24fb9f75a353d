#include "kernels/attention_f32/attention_f32.h"

#include <cmath>
#include <string>

#include "kernels/bench_support.h"

namespace tender::kernels {
namespace {

/// `tokens` queries at the end of `context` positions, heads as in SmolLM2-135M.
void attention(benchmark::State& state, const AttentionKernel& kernel, std::size_t context,
               std::size_t tokens, std::size_t threads) {
  const AttentionShape shape{9, 3, 64};
  ThreadPool pool(threads);
  KvF32 cache(shape, context);
  cache.append(bench::noise(context, 192).view(), bench::noise(context, 192).view(), pool);
  const Matrix q = bench::noise(tokens, 576);
  Matrix out(tokens, 576);
  const AttentionQuery query{q.view(), context - tokens, 0.125F, 0};
  attend(kernel, cache, query, out.view(), pool);
  bench::Share share(bench::fma_peak, pool);
  for (auto _ : state) attend(kernel, cache, query, out.view(), pool);
  double keys = 0;
  for (std::size_t t = 0; t < tokens; ++t) keys += static_cast<double>(context - tokens + t + 1);
  share.report(state, keys * 9 * 64 * 4, "GFLOP/s", "%_of_peak");
}

const bool registered = [] {
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (kernel.needs == Isa::scalar || !contains(detected_isa(), kernel.needs)) continue;
    for (const auto& [context, tokens] : {std::pair<std::size_t, std::size_t>{512, 512},
                                          {2048, 2048},
                                          {2048, 512},
                                          {512, 1},
                                          {2048, 1}})
      for (const std::size_t threads : {1U, 2U})
        benchmark::RegisterBenchmark(
            ("attention_f32/" + std::string(kernel.name) + "/context:" + std::to_string(context) +
             "/tokens:" + std::to_string(tokens) + "/threads:" + std::to_string(threads))
                .c_str(),
            [=, c = context, t = tokens](benchmark::State& state) {
              attention(state, kernel, c, t, threads);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace tender::kernels
