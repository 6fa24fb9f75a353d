#include "model/blocks/sites.h"

#include "quant/registry.h"

namespace tender::model {
namespace {

std::unique_ptr<quant::PackedSite> float_weights(const SiteSpec& site,
                                                 const WeightReader& weights) {
  auto packed = quant::float_site(
      site.shape, [&](std::size_t linear, std::size_t first, MatrixView<float> rows) {
        weights.read(site.linears[linear] + ".weight", first, rows);
      });
  for (const std::string& linear : site.linears) weights.release(linear + ".weight");
  return packed;
}

}  // namespace

LoadedSite load_site(const SiteSpec& site, const WeightReader& weights, Isa isa) {
  LoadedSite loaded;
  loaded.packed = weights.is_quantized(site) ? weights.packed(site) : float_weights(site, weights);
  loaded.packed->prepare(isa);
  for (const std::string& linear : site.linears)
    loaded.biases.push_back(weights.has(linear + ".bias") ? weights.vector(linear + ".bias")
                                                          : std::vector<float>());
  return loaded;
}

std::vector<LoadedSite> load_sites(const ModelSpec& spec, const WeightReader& weights, Isa isa,
                                   Progress& progress) {
  std::vector<LoadedSite> loaded;
  for (const SiteSpec& site : spec.sites) {
    loaded.push_back(load_site(site, weights, isa));
    progress.update(loaded.size(), spec.sites.size(), "loading the model");
  }
  return loaded;
}

}  // namespace tender::model
