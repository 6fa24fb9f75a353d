// oneDNN's product of bytes beside ours: u8 rows, s8 weights in the layout that it likes best, sums
// of 32 bits, nothing dequantized. The peer of "w8" in integer_linear_bench.cc, which also scales
// and stores floats.

#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "kernels/limits/limits.h"

namespace tender::quant {
namespace {

using dnnl::memory;

/// Any bytes in a memory of that form.
memory filled(const memory::desc& form, const dnnl::engine& engine) {
  memory result(form, engine);
  auto* bytes = static_cast<std::uint8_t*>(result.get_data_handle());
  for (std::size_t i = 0; i < form.get_size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
  return result;
}

void onednn(benchmark::State& state, long rows, long out, long in, int threads) {
  omp_set_num_threads(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  const memory::desc source({rows, in}, Type::u8, Tag::ab);
  const memory::desc target({rows, out}, Type::s32, Tag::ab);
  const dnnl::matmul::primitive_desc plan(
      dnnl::matmul::desc(source, {{in, out}, Type::s8, Tag::any}, target), engine);
  const dnnl::matmul product(plan);
  const memory x = filled(source, engine), w = filled(plan.weights_desc(), engine);
  const memory y(target, engine);
  ThreadPool pool(static_cast<std::size_t>(threads));
  double limit = kernels::integer_peak(host_isa(), pool).operations;
  double best = 1e9;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
    stream.wait();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  limit = std::max(limit, kernels::integer_peak(host_isa(), pool).operations);
  const double rate = 2.0 * static_cast<double>(rows * out * in) / best;
  state.counters["GOP/s"] = rate / 1e9;
  state.counters["% of peak"] = 100 * rate / limit;
}

const bool registered = [] {
  for (const int threads : {1, 2})
    for (const auto& [out, in] : {std::pair{2048L, 2048L}, std::pair{8192L, 2048L}})
      benchmark::RegisterBenchmark(
          ("prefill/512x" + std::to_string(out) + "x" + std::to_string(in) + "/" +
           std::to_string(threads) + " threads/oneDNN u8s8s32")
              .c_str(),
          [=, out = out, in = in](benchmark::State& state) {
            onednn(state, 512, out, in, threads);
          });
  return true;
}();

}  // namespace
}  // namespace tender::quant
