#include "kernels/rows/rows.h"

#include <string>

#include "kernels/bench_support.h"
#include "kernels/rope/rope.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kTokens = 512, kWidth = 576, kInner = 1536;

template <class Body>
void add_benchmark(const std::string& name, std::size_t floats, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    ThreadPool pool(1);
    const Matrix x = bench::noise(kTokens, kInner), z = bench::noise(kTokens, kInner);
    Matrix y(kTokens, kInner);
    for (auto _ : state) body(x, z, y, pool);
    state.counters["Gfloat/s"] = benchmark::Counter(static_cast<double>(floats),
                                                    benchmark::Counter::kIsIterationInvariantRate);
  })->Unit(benchmark::kMicrosecond);
}

const bool registered = [] {
  for (const RowKernel& kernel : row_kernels()) {
    if (!contains(detected_isa(), kernel.needs)) continue;
    const std::string name = "/" + std::string(kernel.name);
    add_benchmark("rms_norm" + name, kTokens * kWidth,
                  [&](const Matrix& x, const Matrix& z, Matrix& y, ThreadPool& pool) {
                    rms_norm(kernel, x.view().cols_from(0, kWidth), z.row(0).subspan(0, kWidth),
                             1e-5F, y.view().cols_from(0, kWidth), pool);
                  });
    add_benchmark("layer_norm" + name, kTokens * kWidth,
                  [&](const Matrix& x, const Matrix& z, Matrix& y, ThreadPool& pool) {
                    layer_norm(kernel, x.view().cols_from(0, kWidth), z.row(0).subspan(0, kWidth),
                               z.row(1).subspan(0, kWidth), 1e-5F, y.view().cols_from(0, kWidth),
                               pool);
                  });
    add_benchmark("silu_mul" + name, kTokens * kInner,
                  [&](const Matrix& x, const Matrix& z, Matrix& y, ThreadPool&) {
                    for (std::size_t t = 0; t < x.rows(); ++t)
                      kernel.silu_mul(x.row(t).data(), z.row(t).data(), y.row(t).data(), x.cols());
                  });
    add_benchmark("add" + name, kTokens * kWidth,
                  [&](const Matrix& x, const Matrix& z, Matrix& y, ThreadPool& pool) {
                    add(kernel, x.view().cols_from(0, kWidth), z.view().cols_from(0, kWidth),
                        y.view().cols_from(0, kWidth), pool);
                  });
  }
  add_benchmark("rope/turn_and_apply", kTokens * kWidth,
                [](const Matrix&, const Matrix&, Matrix& y, ThreadPool& pool) {
                  const Rope rope({.rotary_width = 64});
                  std::vector<std::int32_t> positions(kTokens);
                  for (std::size_t t = 0; t < kTokens; ++t)
                    positions[t] = static_cast<std::int32_t>(t);
                  RopeAngles angles;
                  rope.turn(positions, angles, pool);
                  apply_rope(angles, 64, y.view().cols_from(0, kWidth),
                             y.view().cols_from(kWidth, 0), pool);
                });
  return true;
}();

}  // namespace
}  // namespace tender::kernels
