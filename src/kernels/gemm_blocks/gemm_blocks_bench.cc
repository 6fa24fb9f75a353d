// Products of rows and weights in blocks of 32 beside the limits of the machine, measured just
// before and just after: prefill beside the register peak of vpdpbusd, decode (a row over as many
// layers as do not fit a cache) beside a read of as many bytes. GOP/s counts a multiply and an add.

#include "kernels/gemm_blocks/gemm_blocks.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/bench_support.h"
#include "kernels/limits/limits.h"

namespace tender::kernels {
namespace {

constexpr std::size_t kColdBytes = std::size_t{256} << 20U;

struct Form {
  std::string name;
  int bits;
  int zero;
  BlockScales scales;
};

const std::vector<Form>& forms() {
  static const std::vector<Form> all = {
      {"Q8_0", 8, 128, BlockScales::halves},          {"Q4_0", 4, 8, BlockScales::halves},
      {"Q4_1", 4, 0, BlockScales::halves_and_minima}, {"Q4_K", 4, 0, BlockScales::superblocks},
      {"Q5_K", 8, 128, BlockScales::superblocks},     {"Q6_K", 8, 128, BlockScales::half_blocks},
      {"4 bits, floats", 4, 8, BlockScales::floats}};
  return all;
}

PanelsBlocks random_panels(const Form& form, LinearShape shape) {
  Rng rng(1, "gemm_blocks bench");
  PanelsBlocks panels(shape, form.bits, form.zero, form.scales);
  std::vector<std::uint8_t> u(shape.in);
  const BlockScale scale{0.0078125F, 0.015625F, 37, 21};
  const std::vector<BlockScale> scales(panels.blocks(), scale);
  for (std::size_t n = 0; n < shape.out; ++n) {
    for (auto& code : u) code = static_cast<std::uint8_t>(rng.below(form.bits == 8 ? 256 : 16));
    panels.put(n, u, scales);
  }
  return panels;
}

struct Rows {
  Rows(std::size_t count, const PanelsBlocks& panels)
      : stride((panels.blocks() * 32 + 63) / 64 * 64),
        codes(count * stride),
        steps(count * panels.blocks()),
        sums(2 * count * panels.blocks()),
        y(count * panels.shape().out) {
    codes.fill(0);
    const Matrix x = bench::noise(count, panels.shape().in);
    const RoundBlocksKernel& scalar = round_blocks_kernels().back();
    for (std::size_t m = 0; m < count; ++m)
      scalar.run(x.row(m).data(), panels.shape().in, 127, codes.data() + m * stride,
                 steps.data() + m * panels.blocks(), sums.data() + 2 * m * panels.blocks());
  }
  std::size_t stride;
  AlignedBuffer<std::int8_t> codes;
  std::vector<float> steps;
  std::vector<std::int32_t> sums;
  std::vector<float> y;
};

GemmBlocksJob job_of(Rows& rows, std::size_t count, const PanelsBlocks& panels) {
  GemmBlocksJob job;
  job.codes = rows.codes.data();
  job.stride = rows.stride;
  job.rows = count;
  job.steps = rows.steps.data();
  job.sums = rows.sums.data();
  job.panels = panels.data();
  job.panel_bytes = panels.panel_bytes();
  job.scales = panels.scales();
  job.panel_scale_bytes = panels.panel_scale_bytes();
  job.blocks = panels.blocks();
  job.bits = panels.bits();
  job.zero = panels.zero();
  job.form = panels.form();
  job.out = panels.shape().out;
  job.y = rows.y.data();
  job.y_stride = panels.shape().out;
  return job;
}

/// So many copies of a layer, codes and scales of each side by side.
struct Copies {
  Copies(const PanelsBlocks& panels, std::size_t count_)
      : count(count_),
        codes(panels.panels() * panels.panel_bytes()),
        each(codes + (panels.bytes() - codes + 63) / 64 * 64),
        memory(count * each) {
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(memory.data() + i * each, panels.data(), codes);
      std::memcpy(memory.data() + i * each + codes, panels.scales(), panels.bytes() - codes);
    }
  }
  std::size_t count, codes, each;
  AlignedBuffer<std::uint8_t> memory;
};

/// Seconds of the fastest round over all layers.
double best_round(benchmark::State& state, const GemmBlocksKernel& kernel,
                  const PanelsBlocks& panels, const Copies& layers, std::size_t count,
                  ThreadPool& pool) {
  Rows rows(count, panels);
  GemmBlocksJob job = job_of(rows, count, panels);
  double best = 1e9;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < layers.count; ++i) {
      job.panels = layers.memory.data() + i * layers.each;
      job.scales = job.panels + layers.codes;
      pool.for_each_part(panels.panels(),
                         [&](std::size_t begin, std::size_t end) { kernel.run(job, begin, end); });
    }
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    benchmark::DoNotOptimize(rows.y.data());
  }
  return best;
}

void prefill(benchmark::State& state, const GemmBlocksKernel& kernel, const Form& form,
             std::size_t count, LinearShape shape, std::size_t threads) {
  ThreadPool pool(threads);
  const PanelsBlocks panels = random_panels(form, shape);
  const Copies layer(panels, 1);
  double limit = integer_peak(host_isa(), pool).operations;
  const double best = best_round(state, kernel, panels, layer, count, pool);
  limit = std::max(limit, integer_peak(host_isa(), pool).operations);
  const double rate = 2 * static_cast<double>(count * shape.out * shape.in) / best;
  state.counters["GOP/s"] = rate / 1e9;
  state.counters["% of peak"] = 100 * rate / limit;
}

void decode(benchmark::State& state, const GemmBlocksKernel& kernel, const Form& form,
            LinearShape shape, std::size_t threads) {
  ThreadPool pool(threads);
  const PanelsBlocks panels = random_panels(form, shape);
  const Copies layers(panels, kColdBytes / panels.bytes() + 1);
  double limit = read_rate(layers.memory.span(), pool);
  const double best = best_round(state, kernel, panels, layers, 1, pool);
  limit = std::max(limit, read_rate(layers.memory.span(), pool));
  const double rate = static_cast<double>(layers.count * panels.bytes()) / best;
  state.counters["GB/s"] = rate / 1e9;
  state.counters["probe GB/s"] = limit / 1e9;
  state.counters["% of probe"] = 100 * rate / limit;
}

void round_rows(benchmark::State& state, const RoundBlocksKernel& kernel) {
  constexpr std::size_t kRows = 64, kIn = 2048;
  const Matrix x = bench::noise(kRows, kIn);
  std::vector<std::int8_t> codes(kIn);
  std::vector<float> steps(kIn / 32);
  std::vector<std::int32_t> sums(2 * kIn / 32);
  for (auto _ : state)
    for (std::size_t m = 0; m < kRows; ++m) {
      kernel.run(x.row(m).data(), kIn, 127, codes.data(), steps.data(), sums.data());
      benchmark::DoNotOptimize(codes.data());
    }
  state.counters["Gvalues/s"] =
      benchmark::Counter(1e-9 * kRows * kIn, benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
  };
  const std::vector<LinearShape> shapes = {
      {2048, 2048}, {8192, 2048}, {576, 576}, {1536, 576}, {576, 1536}};
  for (const RoundBlocksKernel& kernel : round_blocks_kernels())
    if (contains(detected_isa(), kernel.needs))
      add("round_blocks/" + std::string(kernel.name) + "/64x2048",
          [=](benchmark::State& state) { round_rows(state, kernel); });
  for (const GemmBlocksKernel& kernel : gemm_blocks_kernels()) {
    if (kernel.needs == Isa::scalar || !contains(detected_isa(), kernel.needs)) continue;
    for (const Form& form : forms())
      for (const std::size_t threads : {1U, 2U}) {
        const std::string begin = "gemm_blocks/" + std::string(kernel.name) + "/";
        const std::string end = "/" + form.name + "/threads:" + std::to_string(threads);
        const auto of = [](std::size_t rows, LinearShape shape) {
          return std::to_string(rows) + "x" + std::to_string(shape.out) + "x" +
                 std::to_string(shape.in);
        };
        for (const LinearShape shape : shapes)
          add(begin + of(512, shape) + end,
              [=](benchmark::State& state) { prefill(state, kernel, form, 512, shape, threads); });
        for (const std::size_t rows : {2U, 4U, 8U, 12U, 16U, 32U})
          if (threads == 1)
            add(begin + of(rows, shapes[0]) + end, [=](benchmark::State& state) {
              prefill(state, kernel, form, rows, shapes[0], threads);
            });
        for (const LinearShape shape : {shapes[0], shapes[3]})
          add(begin + of(1, shape) + end,
              [=](benchmark::State& state) { decode(state, kernel, form, shape, threads); });
      }
  }
  return true;
}();

}  // namespace
}  // namespace tender::kernels
