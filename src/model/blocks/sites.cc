#include "model/blocks/sites.h"

#include <algorithm>

#include "quant/registry.h"

namespace tender::model {
namespace {

std::unique_ptr<quant::PackedSite> float_weights(const SiteSpec& site,
                                                 const WeightReader& weights) {
  auto packed = quant::float_site(
      site.shape,
      [&](std::size_t linear, std::size_t first, MatrixView<float> rows) {
        weights.read(site.linears[linear] + ".weight", first, rows);
      },
      weights.why_float(site));
  for (const std::string& linear : site.linears) weights.release(linear + ".weight");
  return packed;
}

/// Packed as stored, or null for a float site. Not from several threads: parts are counted off.
std::unique_ptr<quant::PackedSite> stored_site(const SiteSpec& site, const WeightReader& weights) {
  return weights.is_quantized(site) ? weights.packed(site) : nullptr;
}

/// What may be done for several sites at once.
void finish_site(const SiteSpec& site, const WeightReader& weights, Isa isa, LoadedSite& loaded) {
  if (loaded.packed == nullptr) loaded.packed = float_weights(site, weights);
  loaded.packed->prepare(isa);
  for (const std::string& linear : site.linears)
    loaded.biases.push_back(weights.has(linear + ".bias") ? weights.vector(linear + ".bias")
                                                          : std::vector<float>());
}

}  // namespace

LoadedSite load_site(const SiteSpec& site, const WeightReader& weights, Isa isa) {
  LoadedSite loaded{stored_site(site, weights), {}};
  finish_site(site, weights, isa, loaded);
  return loaded;
}

std::vector<LoadedSite> load_sites(const ModelSpec& spec, const WeightReader& weights,
                                   const Loading& loading) {
  const std::size_t count = spec.sites.size();
  std::vector<LoadedSite> loaded(count);
  // As many at a time as there are threads: what is stored and what it becomes are both in memory.
  const std::size_t at_once = loading.pool == nullptr ? 1 : loading.pool->threads();
  for (std::size_t first = 0; first < count; first += at_once) {
    const std::size_t some = std::min(at_once, count - first);
    for (std::size_t s = first; s < first + some; ++s)
      loaded[s].packed = stored_site(spec.sites[s], weights);
    const auto finish = [&](std::size_t begin, std::size_t end) {
      for (std::size_t s = first + begin; s < first + end; ++s)
        finish_site(spec.sites[s], weights, loading.isa, loaded[s]);
    };
    if (loading.pool == nullptr)
      finish(0, some);
    else
      loading.pool->for_each_part(some, finish);
    loading.progress.update(first + some, count, "loading the model");
  }
  return loaded;
}

}  // namespace tender::model
