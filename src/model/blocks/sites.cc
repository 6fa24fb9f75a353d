#include "model/blocks/sites.h"

#include <algorithm>

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
                                   const Loading& loading, FunctionRef<void()> beside) {
  const std::size_t threads = loading.pool == nullptr ? 1 : loading.pool->threads();
  const std::size_t at_once = std::max<std::size_t>(16, 4 * threads);  // between words of progress
  const std::size_t count = spec.sites.size();
  require(count > 0, "a model has sites");
  std::vector<LoadedSite> loaded(count);
  for (std::size_t first = 0; first < count; first += at_once) {
    const std::size_t more = first == 0 ? 1 : 0;  // in the first round an item before the sites
    const std::size_t some = std::min(at_once, count - first);
    const auto load = [&](std::size_t item) {
      if (item < more) return beside();
      const std::size_t s = first + item - more;
      loaded[s] = load_site(spec.sites[s], weights, loading.isa);
    };
    if (loading.pool != nullptr)
      loading.pool->for_each_item(some + more, load);
    else
      for (std::size_t item = 0; item < some + more; ++item) load(item);
    loading.progress.update(first + some, count, "loading the model");
  }
  return loaded;
}

}  // namespace tender::model
