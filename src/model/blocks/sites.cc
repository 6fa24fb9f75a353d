#include "model/blocks/sites.h"

#include <atomic>
#include <thread>

#include "base/contracts.h"
#include "quant/registry.h"

namespace tender::model {
namespace {

std::unique_ptr<quant::PackedSite> float_weights(const SiteSpec& site,
                                                 const WeightReader& weights) {
  return quant::float_site(
      site.shape,
      [&](std::size_t linear, std::size_t first, MatrixView<float> rows) {
        weights.read(site.linears[linear] + ".weight", first, rows);
      },
      weights.why_float(site));
}

}  // namespace

LoadedSite load_site(const SiteSpec& site, const WeightReader& weights, Isa isa) {
  LoadedSite loaded;
  loaded.packed = weights.is_quantized(site) ? weights.packed(site) : float_weights(site, weights);
  loaded.packed->prepare(isa);
  weights.release(site);
  for (const std::string& linear : site.linears)
    loaded.biases.push_back(weights.has(linear + ".bias") ? weights.vector(linear + ".bias")
                                                          : std::vector<float>());
  return loaded;
}

std::vector<LoadedSite> load_sites(const ModelSpec& spec, const WeightReader& weights,
                                   const Loading& loading,
                                   std::span<const std::function<void()>> beside) {
  const std::size_t count = spec.sites.size();
  require(count > 0, "a model has sites");
  std::vector<LoadedSite> loaded(count);
  std::atomic<std::size_t> done{0};
  const auto caller = std::this_thread::get_id();  // alone speaks of progress
  const auto load = [&](std::size_t item) {
    if (item < beside.size()) return beside[item]();
    const std::size_t s = item - beside.size();
    loaded[s] = load_site(spec.sites[s], weights, loading.isa);
    ++done;
    if (std::this_thread::get_id() == caller)
      loading.progress.update(done, count, "loading the model");
  };
  const std::size_t items = count + beside.size();
  if (loading.pool != nullptr)
    loading.pool->for_each_item(items, load);
  else
    for (std::size_t item = 0; item < items; ++item) load(item);
  loading.progress.update(count, count, "loading the model");
  return loaded;
}

}  // namespace tender::model
