#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/architecture.h"
#include "model/model.h"

namespace tender::model {

/// A site that is ready to run, and the biases of its linear layers.
struct LoadedSite {
  std::unique_ptr<quant::PackedSite> packed;
  std::vector<std::vector<float>> biases;  ///< [linears], each [out] or empty
};

/// Reads a site, quantized or in float32, and prepares it for `isa`. The pages of the files are
/// given back as it goes, so that the model is never in memory twice.
LoadedSite load_site(const SiteSpec& site, const WeightReader& weights, Isa isa);

/// The same for all sites of a model, by all threads. @param beside  work that they do as well,
/// begun first
std::vector<LoadedSite> load_sites(const ModelSpec& spec, const WeightReader& weights,
                                   const Loading& loading,
                                   std::span<const std::function<void()>> beside);

}  // namespace tender::model
