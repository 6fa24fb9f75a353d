#include "kernels/attention_i8/attention_i8.h"

#include <string>
#include <utility>

#include "kernels/bench_support.h"

namespace tender::kernels {
namespace {

/// `tokens` queries at the end of `context` positions, heads as in SmolLM2-135M.
void attention(benchmark::State& state, const AttentionI8Kernel& kernel, int cache_bits,
               std::size_t context, std::size_t tokens, std::size_t threads) {
  const AttentionShape shape{9, 3, 64};
  ThreadPool pool(threads);
  KvI8 cache(shape, context, {8, cache_bits}, nullptr, best_round_rows(kernel.needs));
  cache.append(bench::noise(context, 192).view(), bench::noise(context, 192).view(), pool);
  const Matrix q = bench::noise(tokens, 576);
  Matrix out(tokens, 576);
  const AttentionQuery query{q.view(), context - tokens, 0.125F, 0};
  attend(kernel, cache, query, out.view(), pool);
  for (auto _ : state) attend(kernel, cache, query, out.view(), pool);
}

const bool registered = [] {
  for (const AttentionI8Kernel& kernel : attention_i8_kernels()) {
    if (kernel.needs == Isa::scalar || !contains(detected_isa(), kernel.needs)) continue;
    for (const int bits : {8, 4})
      for (const auto& [context, tokens] :
           {std::pair<std::size_t, std::size_t>{512, 512}, {2048, 2048}, {512, 1}, {2048, 1}})
        for (const std::size_t threads : {1U, 2U})
          benchmark::RegisterBenchmark(
              ("attention_i8/" + std::string(kernel.name) + "/bits:" + std::to_string(bits) +
               "/context:" + std::to_string(context) + "/tokens:" + std::to_string(tokens) +
               "/threads:" + std::to_string(threads))
                  .c_str(),
              [=, c = context, t = tokens](benchmark::State& state) {
                attention(state, kernel, bits, c, t, threads);
              })
              ->UseRealTime()
              ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace tender::kernels
