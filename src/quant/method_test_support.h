#pragma once

// What the tests of all methods share: settings, sites, and the ways between them.

#include <gtest/gtest.h>
#include <algorithm>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "quant/memory_parts.h"
#include "quant/methods.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"
#include "quant/registry.h"
#include "quant/rotation/rotation.h"

namespace tender::quant {

using Bytes = std::vector<std::vector<MemoryParts::Item>>;

/// Settings that methods are held to their promises in.
inline const std::map<std::string_view, std::vector<Json>> kSettings = {
    {"rtn",
     {Json::object(),
      {{"weight_bits", 4}, {"activation_granularity", "none"}},
      {{"weight_bits", 4}, {"weight_granularity", "group"}, {"group_size", 32}},
      {{"weight_bits", 8},
       {"weight_granularity", "group"},
       {"group_size", 9},
       {"activation_granularity", "none"}},
      {{"weight_bits", 4}, {"weight_granularity", "multiplier"}, {"group_size", 32}},
      {{"weight_bits", 4},
       {"weight_granularity", "multiplier"},
       {"group_size", 9},
       {"weight_scale", "mse"},
       {"activation_granularity", "none"}},
      {{"weight_granularity", "tensor"}, {"activation_granularity", "tensor"}},
      {{"weight_granularity", "tensor"}, {"weight_scale", "mse"}},
      {{"activation_granularity", "channel"}},
      {{"weight_bits", 4}, {"activation_bits", 4}}}},
    {"gguf",
     {Json::object(),
      {{"weight_type", "q8_0"}},
      {{"weight_type", "q4_1"}},
      {{"weight_type", "q4_1"}, {"activation_bits", 4}},
      {{"weight_search", "gptq"}},
      {{"weight_type", "symmetric-8"}},
      {{"weight_type", "symmetric-4"}, {"activation_bits", 4}},
      {{"weight_type", "symmetric-4"}, {"weight_scale", "mse"}, {"weight_search", "gptq"}},
      {{"weight_type", "q4_1"}, {"weight_search", "gptq"}, {"activation_bits", 4}},
      {{"activation_granularity", "none"}}}},
    {"gptq",
     {Json::object(),
      {{"weight_granularity", "channel"}, {"weight_scale", "mse"}},
      {{"weight_bits", 8}, {"group_size", 9}, {"sweep_order", "natural"}, {"first_row_share", 0.5}},
      {{"weight_granularity", "multiplier"}, {"group_size", 32}, {"weight_scale", "mse"}},
      {{"weight_granularity", "channel"}, {"activation_granularity", "none"}},
      {{"weight_granularity", "tensor"}, {"activation_granularity", "channel"}}}},
    {"smoothquant",
     {Json::object(),
      {{"activation_granularity", "tensor"}},
      {{"factors", "powers-of-two"}},
      {{"factors", "powers-of-two"}, {"activation_granularity", "tensor"}},
      {{"alpha_percent", 50}},
      {{"weight_bits", 4}, {"activation_bits", 4}}}},
    {"ant",
     {Json::object(),
      {{"weight_bits", 8}, {"activation_bits", 8}},
      {{"activation_granularity", "none"}}}},
    {"olive",
     {Json::object(),
      {{"weight_bits", 8}, {"activation_bits", 8}},
      {{"activation_granularity", "none"}}}},
    {"llm_int8",
     {Json::object(),
      {{"threshold", 1}},       // all channels but the least
      {{"threshold", 30}},      // the loudest
      {{"threshold", 100000}},  // none
      {{"weight_bits", 4}, {"activation_bits", 4}}}},
    {"tender",
     {Json::object(),  // rotated
      {{"mode", "static"}, {"chunk_rows", 8}},
      {{"mode", "one-row"}},
      {{"mode", "dynamic"}},
      {{"rotation", "auto"}},
      {{"rotation", "auto"}, {"mode", "static"}, {"chunk_rows", 8}, {"rounding", "choose"}},
      {{"rotation", "none"}},
      {{"rotation", "none"}, {"error_share", 1}},  // static
      {{"rotation", "none"}, {"error_share", 0}},  // one-row
      {{"error_share", 1e-3}, {"weight_bits", 4}, {"activation_bits", 4}},
      {{"rotation", "none"}, {"mode", "row-scaled"}},
      {{"rotation", "none"}, {"mode", "static"}, {"chunk_rows", 8}},
      {{"rotation", "none"}, {"mode", "static"}, {"chunk_rows", 0}},
      {{"rotation", "none"},
       {"mode", "static"},
       {"chunk_rows", 5},
       {"groups", 20}},  // several planes of words
      {{"rotation", "none"}, {"mode", "row-scaled"}, {"chunk_rows", 8}},
      {{"weight_bits", 4}},
      {{"weight_bits", 4}, {"activation_bits", 4}},
      {{"weight_bits", 4}, {"activation_bits", 4}, {"mode", "static"}, {"chunk_rows", 8}},
      {{"weight_bits", 4}, {"activation_bits", 5}},
      {{"activation_bits", 6}, {"rotation", "none"}},
      {{"activation_bits", 7}, {"rotation", "hadamard"}},
      {{"weight_bits", 4}, {"multiplier_group", 32}, {"weight_scale", "mse"}},
      {{"weight_bits", 4},
       {"multiplier_group", 64},
       {"weight_search", "gptq"},
       {"first_row_share", 0.5}},
      {{"rotation", "none"},
       {"weight_search", "gptq"},
       {"mode", "static"},
       {"sweep_order", "natural"}},
      {{"rotation", "hadamard"},
       {"weight_bits", 4},
       {"multiplier_group", 32},
       {"weight_search", "gptq"}},
      {{"rotation", "none"}, {"groups", 1}},
      {{"rotation", "none"}, {"groups", 20}},
      {{"rotation", "none"}, {"mode", "one-row"}},
      {{"rotation", "none"}, {"mode", "one-row"}, {"weight_bits", 4}},
      {{"mode", "one-row"}, {"weight_bits", 4}, {"activation_bits", 4}},
      {{"rotation", "none"}, {"bias", "none"}, {"mode", "static"}, {"chunk_rows", 8}},
      {{"rotation", "none"}, {"rounding", "down"}, {"mode", "static"}, {"chunk_rows", 8}},
      {{"rounding", "choose"}, {"mode", "static"}, {"weight_bits", 4}, {"activation_bits", 4}},
      {{"rotation", "none"}, {"rounding", "choose"}},
      {{"numerics", "compat"}, {"mode", "static"}, {"chunk_rows", 8}},
      {{"numerics", "compat"}, {"mode", "static"}, {"chunk_rows", 8}, {"rotation", "hadamard"}},
      {{"numerics", "compat"},
       {"mode", "static"},
       {"chunk_rows", 8},
       {"weight_bits", 4},
       {"activation_bits", 4},
       {"rounding", "choose"}},
      {{"numerics", "compat"}, {"mode", "dynamic"}, {"chunk_rows", 8}, {"bias", "dynamic"}},
      {{"rotation", "none"}, {"mode", "dynamic"}},
      {{"rotation", "none"},
       {"mode", "dynamic"},
       {"chunk_rows", 5},
       {"groups", 20}},  // several planes of words
      {{"rotation", "none"}, {"mode", "dynamic"}, {"chunk_rows", 8}, {"bias", "dynamic"}},
      {{"mode", "dynamic"}, {"chunk_rows", 8}, {"weight_bits", 4}, {"activation_bits", 4}},
      {{"mode", "dynamic"},
       {"chunk_rows", 8},
       {"bias", "dynamic"},
       {"weight_bits", 4},
       {"activation_bits", 4},
       {"rotation", "hadamard"}}}},
};

/// The defaults alone for a method that is not named there.
inline std::vector<Json> settings_of(std::string_view method) {
  const auto named = kSettings.find(method);
  return named == kSettings.end() ? std::vector<Json>{Json::object()} : named->second;
}

inline constexpr std::size_t kIn = 70;  // neither quads nor vectors come out even
inline constexpr std::size_t kRows = 21;
inline constexpr std::array<std::size_t, 3> kOuts = {117, 16, 5};

/// A site with channels of very different reach and offsets, its layers and some rows.
struct Problem {
  explicit Problem(bool centre, bool nonnegative, std::uint64_t seed = 7) {
    shape.in = kIn;
    shape.outs.assign(kOuts.begin(), kOuts.end());
    shape.centre = centre;
    shape.nonnegative = nonnegative;
    Rng rng(seed, "method test");
    for (const std::size_t out : kOuts) {
      weights.emplace_back(out, kIn);
      for (float& w : weights.back().span()) w = 0.1F * rng.normal();
    }
    rows = Matrix(kRows, kIn);
    for (std::size_t m = 0; m < kRows; ++m) {
      positions.push_back(static_cast<std::int32_t>(m));
      for (std::size_t k = 0; k < kIn; ++k) {
        const float reach = k % 23 == 3 ? 60.0F : k % 7 == 1 ? 4.0F : 0.3F;
        const float value = reach * rng.normal() + (centre && k % 5 == 0 ? 3.0F * reach : 0.0F);
        rows(m, k) = nonnegative ? std::max(value, 0.0F) : value;
      }
    }
  }
  Rows all() const { return {rows.view(), positions}; }
  Rows some(std::size_t begin, std::size_t count) const {
    return {rows.view().rows_from(begin, count), std::span(positions).subspan(begin, count)};
  }
  std::vector<MatrixView<const float>> views() const {
    std::vector<MatrixView<const float>> views;
    for (const Matrix& w : weights) views.push_back(w.view());
    return views;
  }

  SiteShape shape;
  std::vector<Matrix> weights;
  Matrix rows;
  std::vector<std::int32_t> positions;
};

inline Isa operator&(Isa a, Isa b) {
  return static_cast<Isa>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}

inline const std::array<Isa, 4> kMasks = {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512,
                                          Isa::avx2 | Isa::avx512 | Isa::vnni};

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
           return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
         });
}

template <class M>
class MethodTest : public ::testing::Test {
 protected:
  /// Runs `body(entry, options, problem)` for every setting and kind of site.
  template <class Body>
  void for_each(Body&& body) {
    const MethodEntry& entry = method(M::kName);
    for (const Json& options : settings_of(M::kName))
      for (const auto& [centre, nonnegative] :
           {std::pair{true, false}, std::pair{false, false}, std::pair{false, true}}) {
        SCOPED_TRACE(to_text(options) + (centre ? " centred" : nonnegative ? " nonnegative" : ""));
        body(entry, options, Problem(centre, nonnegative));
      }
  }

  static std::unique_ptr<PackedSite> quantize(const MethodEntry& entry, const Json& options,
                                              const Problem& problem) {
    const auto quantizer = entry.quantizer(options, problem.shape);
    if (entry.traits(options).wants_inputs) quantizer->observe(problem.all());
    return finish(entry, options, *quantizer, problem);
  }

  /// What follows the last observe().
  static std::unique_ptr<PackedSite> finish(const MethodEntry& entry, const Json& options,
                                            SiteQuantizer& quantizer, const Problem& problem) {
    ThreadPool pool(2);
    if (entry.traits(options).wants_moment) {
      quantizer.settle(problem.views());
      quantizer.observe_rounded(problem.all(), host_isa(), pool);
    }
    return quantizer.quantize(problem.views(), pool);
  }

  /// Parts of the site, then of each layer.
  static std::vector<MemoryParts> parts_of(const PackedSite& site) {
    std::vector<MemoryParts> parts(1 + site.linears());
    std::vector<PartSink*> sinks;
    for (std::size_t l = 1; l < parts.size(); ++l) sinks.push_back(&parts[l]);
    site.save(parts[0], sinks);
    return parts;
  }
  /// It may read the parts until it is prepared.
  static std::unique_ptr<PackedSite> load(const MethodEntry& entry,
                                          std::vector<MemoryParts>&& parts) = delete;
  static std::unique_ptr<PackedSite> load(const MethodEntry& entry,
                                          const std::vector<MemoryParts>& parts) {
    std::vector<const PartSource*> sources;
    for (std::size_t l = 1; l < parts.size(); ++l) sources.push_back(&parts[l]);
    return entry.load(parts[0], sources);
  }
  static Bytes bytes_of(const PackedSite& site) {
    Bytes bytes;
    for (const MemoryParts& parts : parts_of(site)) bytes.push_back(parts.items);
    return bytes;
  }
  static std::unique_ptr<PackedSite> prepared(const MethodEntry& entry, const Json& options,
                                              const Problem& problem, Isa isa) {
    auto site = quantize(entry, options, problem);
    site->prepare(isa & detected_isa());
    return site;
  }

  /// The results of all layers side by side, [rows, sum of outs], with a bias on the first.
  static Matrix run(const PackedSite& site, const Rows& x, ThreadPool& pool) {
    const std::vector<float> bias(site.shape(0).out, 0.25F);
    std::size_t columns = 0;
    for (std::size_t l = 0; l < site.linears(); ++l) columns += site.shape(l).out;
    const std::size_t rows = x.values.rows();
    Matrix y(std::max<std::size_t>(rows, 1), columns);  // columns of no rows have no place
    std::vector<SiteOutput> outputs;
    for (std::size_t l = 0, at = 0; l < site.linears(); at += site.shape(l++).out)
      outputs.push_back({y.view().rows_from(0, rows).cols_from(at, site.shape(l).out),
                         {l == 0 ? std::span(bias) : std::span<const float>()}});
    site.matmul(x, outputs, pool);
    return rows == 0 ? Matrix(0, columns) : std::move(y);
  }
  static double bias_of(std::size_t linear) { return linear == 0 ? 0.25 : 0; }
};

template <class List>
struct AsTypes;
template <class... Ms>
struct AsTypes<MethodList<Ms...>> {
  using type = ::testing::Types<Ms...>;
};
struct MethodName {
  template <class M>
  static std::string GetName(int) {
    return std::string(M::kName);
  }
};

}  // namespace tender::quant
