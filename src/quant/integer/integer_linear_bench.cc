// Layers of packed 4-bit weights beside the limits of the machine, measured just before and just
// after: decode (a row over many layers, so that weights come from memory or L3) beside a read of
// as many bytes, prefill beside the integer peak, and in between the two ways of the
// same product for each number of rows.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/limits/limits.h"
#include "quant/integer/integer_linear.h"

namespace tender::quant {
namespace {

struct Case {
  std::string name;
  int bits = 4;
  std::size_t group = 64;   ///< inputs to a multiplier
  std::uint8_t shifts = 0;  ///< channels have steps 2^0 … 2^shifts
  int element_groups = 0;
  bool fold = true;
};

std::vector<Case> cases() {
  return {{"w8", 8, 0, 0, 0, true},
          {"w8, 4 groups", 8, 0, 3, 0, true},
          {"w8, 8 groups", 8, 0, 7, 0, true},
          {"w4", 4, 0, 0, 0, true},
          {"w4, multipliers", 4, 64, 0, 0, true},
          {"w4, multipliers, 4 groups", 4, 64, 3, 0, true},
          {"w4, 8 groups, folded", 4, 0, 7, 0, true},
          {"w4, 8 groups, shifted", 4, 0, 7, 0, false},
          {"w4, multipliers, one-row", 4, 64, 0, 8, true}};
}

RowRounding rounding_of(const Case& c, std::size_t in, Rng& rng) {
  RowRounding rounding{.in = in, .by_row = true, .chunk_rows = 0, .chunks = {ChunkRounding{}}};
  rounding.element_groups = c.element_groups;
  if (c.shifts > 0) {
    auto& shift = rounding.chunks[0].shift;
    for (std::size_t k = 0; k < in; ++k)
      shift.push_back(static_cast<std::uint8_t>(rng.below(c.shifts + std::uint64_t{1})));
    shift[0] = 0;
    for (std::size_t k = 0; k < in; ++k)
      rounding.chunks[0].multiplier.push_back(1.0F / static_cast<float>(1U << shift[k]));
  }
  return rounding;
}

/// `count` layers of one site.
class Layers {
 public:
  Layers(const Case& c, LinearShape shape, std::size_t count, std::size_t few_rows)
      : shape_(shape) {
    Rng rng(1, "integer linear bench");
    rows_ = IntegerRows(rounding_of(c, shape.in, rng), host_isa(),
                        {.bits = c.bits, .group = c.group, .fold = c.fold, .few_rows = few_rows});
    std::vector<std::int8_t> codes(shape.out * shape.in);
    for (auto& code : codes)
      code = static_cast<std::int8_t>(static_cast<int>(rng.below(c.bits == 4 ? 15 : 255)) -
                                      (c.bits == 4 ? 7 : 127));
    const std::vector<float> scales(shape.out, 1e-3F);
    const std::size_t groups = c.group == 0 ? 0 : (shape.in + c.group - 1) / c.group;
    std::vector<std::uint8_t> multipliers(shape.out * groups);
    for (auto& m : multipliers) m = static_cast<std::uint8_t>(1 + rng.below(18));
    const SymmetricBytes stored = pack_symmetric({shape, c.bits, 0, codes, scales});
    for (std::size_t l = 0; l < count; ++l)
      layers_.emplace_back(rows_,
                           IntegerWeights{shape, stored.codes(), scales, {}, multipliers, c.group});
  }
  std::size_t bytes() const {
    std::size_t bytes = 0;
    for (const IntegerLinear& layer : layers_) bytes += layer.bytes();
    return bytes;
  }
  std::string kernel() const { return layers_[0].kernel(rows_); }
  IntegerCodes round(std::size_t count, ThreadPool& pool) const {
    Rng rng(2, "integer linear bench");
    Matrix x(count, shape_.in);
    for (float& value : x.span()) value = rng.normal();
    const std::vector<std::int32_t> positions(count, 0);
    return rows_.round({x.view(), positions}, pool);
  }
  void run(const IntegerCodes& codes, Matrix& y, ThreadPool& pool) const {
    for (const IntegerLinear& layer : layers_) layer.matmul(rows_, codes, y.view(), {}, pool);
  }

 private:
  LinearShape shape_;
  IntegerRows rows_;
  std::vector<IntegerLinear> layers_;
};

/// Seconds of the fastest run.
double best_run(benchmark::State& state, const Layers& layers, const IntegerCodes& codes, Matrix& y,
                ThreadPool& pool) {
  double best = 1e9;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    layers.run(codes, y, pool);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    benchmark::DoNotOptimize(y.span().data());
  }
  return best;
}

void decode(benchmark::State& state, const Case& c, LinearShape shape, std::size_t mebibytes,
            std::size_t threads) {
  ThreadPool pool(threads);
  const std::size_t each = shape.out * shape.in * static_cast<std::size_t>(c.bits) / 8;
  const Layers layers(c, shape, (mebibytes << 20U) / each, WeightLayout::kFewRows);
  const IntegerCodes codes = layers.round(1, pool);
  Matrix y(1, shape.out);
  AlignedBuffer<std::uint8_t> memory(layers.bytes());
  memory.fill(1);
  double limit = kernels::read_rate(memory.span(), pool);
  layers.run(codes, y, pool);
  const double best = best_run(state, layers, codes, y, pool);
  limit = std::max(limit, kernels::read_rate(memory.span(), pool));
  const double rate = static_cast<double>(layers.bytes()) / best;
  state.counters["GB/s"] = rate / 1e9;
  state.counters["probe GB/s"] = limit / 1e9;
  state.counters["% of probe"] = 100 * rate / limit;
}

void product(benchmark::State& state, const Case& c, LinearShape shape, std::size_t count,
             std::size_t few_rows, std::size_t threads) {
  ThreadPool pool(threads);
  const Layers layers(c, shape, 1, few_rows);
  const IntegerCodes codes = layers.round(count, pool);
  Matrix y(count, shape.out);
  double limit = kernels::integer_peak(host_isa(), pool).operations;
  const double best = best_run(state, layers, codes, y, pool);
  limit = std::max(limit, kernels::integer_peak(host_isa(), pool).operations);
  const double rate = 2 * static_cast<double>(count * shape.out * shape.in) / best;
  state.counters["GOP/s"] = rate / 1e9;
  state.counters["% of peak"] = 100 * rate / limit;
  state.SetLabel(layers.kernel());
}

const bool registered = [] {
  const auto add = [](const std::string& name, auto&& body) {
    benchmark::RegisterBenchmark(name.c_str(), body);
  };
  for (const Case& c : cases()) {
    for (const std::size_t threads : {1U, 2U}) {
      const std::string end = "/" + std::to_string(threads) + " threads/" + c.name;
      for (const std::size_t mebibytes : {16U, 64U, 512U})
        add("decode/2048x2048/" + std::to_string(mebibytes) + " MiB" + end,
            [=](benchmark::State& s) {
              decode(s, c, {2048, 2048}, mebibytes, threads);
            });
      for (const std::size_t out : {2048U, 8192U})
        add("prefill/512x" + std::to_string(out) + "x2048" + end, [=](benchmark::State& s) {
          product(s, c, {out, 2048}, 512, 0, threads);
        });
    }
    if (c.bits != 4) continue;
    for (const std::size_t rows : {1U, 2U, 4U, 8U, 12U, 16U, 24U, 32U, 48U, 64U, 128U, 512U}) {
      const std::string begin = "rows/" + std::to_string(rows) + "x2048x2048/";
      add(begin + "packed/" + c.name, [=](benchmark::State& s) {
        product(s, c, {2048, 2048}, rows, rows, 1);
      });
      add(begin + "unpacked/" + c.name, [=](benchmark::State& s) {
        product(s, c, {2048, 2048}, rows, 0, 1);
      });
    }
  }
  return true;
}();

}  // namespace
}  // namespace tender::quant
