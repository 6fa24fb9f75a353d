// A site of one layer end to end: rounding of the rows, product, dequantization. One thread.
// "prepare" is what a loader pays for the kernel's order of the weights and the bound on the sums.

#include <benchmark/benchmark.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/rng.h"
#include "quant/memory_parts.h"
#include "quant/registry.h"

namespace tender::quant {
namespace {

constexpr std::size_t kCalibrationRows = 512;

struct Case {
  std::string name;
  std::string method;
  Json options;
};

std::vector<Case> cases() {
  return {
      {"float", "", {}},
      {"rtn, token", "rtn", Json::object()},
      {"rtn, token, groups of 128", "rtn", {{"weight_granularity", "group"}}},
      {"tender, static", "tender", {{"mode", "static"}, {"chunk_rows", 0}, {"rotation", "none"}}},
      {"tender, row-scaled", "tender", {{"mode", "row-scaled"}, {"rotation", "none"}}},
      {"tender, row-scaled, rotated", "tender", {{"mode", "row-scaled"}, {"rotation", "hadamard"}}},
      {"tender, one-row", "tender", {{"mode", "one-row"}, {"rotation", "none"}}},
      {"tender, row-scaled, 4-bit weights", "tender", {{"mode", "row-scaled"}, {"weight_bits", 4}}},
      {"tender, static, chunks of 256", "tender", {{"mode", "static"}, {"rotation", "none"}}}};
}

class Site {
 public:
  Site(const Case& c, std::size_t out, std::size_t in)
      : rows_(kCalibrationRows, in), positions_(kCalibrationRows), y_(kCalibrationRows, out) {
    Rng rng(1, "site bench");
    Matrix w(out, in);
    for (float& value : w.span()) value = 0.05F * rng.normal();
    for (std::size_t m = 0; m < kCalibrationRows; ++m) {
      positions_[m] = static_cast<std::int32_t>(m);
      for (std::size_t k = 0; k < in; ++k)
        rows_(m, k) = (k % 64 == 7 ? 40.0F : static_cast<float>(1 + k % 9) * 0.2F) * rng.normal();
    }
    const std::array<MatrixView<const float>, 1> weights = {w.view()};
    if (c.method.empty()) {
      site_ = float_site(weights);
      return;
    }
    SiteShape shape;
    shape.in = in;
    shape.outs = {out};
    shape.centre = true;
    const auto quantizer = method(c.method).quantizer(c.options, shape);
    quantizer->observe(rows(kCalibrationRows));
    ThreadPool pool(1);
    site_ = quantizer->quantize(weights, pool);
  }
  Rows rows(std::size_t count) const {
    return {rows_.view().rows_from(0, count), std::span(positions_).first(count)};
  }
  void run(std::size_t count, ThreadPool& pool) {
    const std::array outputs = {SiteOutput{y_.view().rows_from(0, count), {}}};
    site_->matmul(rows(count), outputs, pool);
    benchmark::DoNotOptimize(y_.span().data());
  }
  PackedSite& site() { return *site_; }

 private:
  Matrix rows_;
  std::vector<std::int32_t> positions_;
  Matrix y_;
  std::unique_ptr<PackedSite> site_;
};

void product(benchmark::State& state, const Case& c, std::size_t count, std::size_t out,
             std::size_t in) {
  Site site(c, out, in);
  site.site().prepare(host_isa());
  ThreadPool pool(1);
  for (auto _ : state) site.run(count, pool);
  state.counters["GOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(count * out * in),
                                               benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(site.site().kernel());
}

void prepare(benchmark::State& state, const Case& c, std::size_t out, std::size_t in) {
  Site stored(c, out, in);
  MemoryParts site_parts, layer_parts;
  const std::array<PartSink*, 1> sinks = {&layer_parts};
  stored.site().save(site_parts, sinks);
  const std::array<const PartSource*, 1> sources = {&layer_parts};
  for (auto _ : state) {
    state.PauseTiming();
    auto site = method(c.method).load(site_parts, sources);
    state.ResumeTiming();
    site->prepare(host_isa());
  }
  state.counters["Mweights/s"] = benchmark::Counter(1e-6 * static_cast<double>(out * in),
                                                    benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  const auto add = [](const std::string& name, auto&& body) {
    benchmark::RegisterBenchmark(name.c_str(), body);
  };
  for (const Case& c : cases())
    for (const auto& [out, in] :
         {std::pair{2048U, 2048U}, std::pair{1536U, 576U}, std::pair{960U, 576U},
          std::pair{576U, 576U}, std::pair{3072U, 576U}, std::pair{576U, 1536U}}) {
      const std::string shape = std::to_string(out) + "x" + std::to_string(in);
      for (const std::size_t count : {512U, 1U})
        add("site/" + std::to_string(count) + " rows/" + shape + "/" + c.name,
            [=, o = out, i = in](benchmark::State& s) { product(s, c, count, o, i); });
      if (!c.method.empty())
        add("prepare/" + shape + "/" + c.name,
            [=, o = out, i = in](benchmark::State& s) { prepare(s, c, o, i); });
    }
  return true;
}();

}  // namespace
}  // namespace tender::quant
