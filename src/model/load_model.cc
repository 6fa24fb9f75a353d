#include "model/architecture.h"
#include "model/blocks/decoder.h"

namespace tender::model {

std::unique_ptr<Model> load_model(const io::Checkpoint& checkpoint, Isa isa, ThreadPool&,
                                  Progress& progress) {
  const ModelSpec spec = read_spec(checkpoint);
  const WeightReader weights(checkpoint, spec);
  return architecture_of(checkpoint).load(spec, weights, isa, Residency::all, progress);
}

std::unique_ptr<LayerwiseModel> load_layerwise(const io::Checkpoint& checkpoint,
                                               const ModelSpec& spec, const WeightReader& weights,
                                               Isa isa, Progress& progress) {
  return architecture_of(checkpoint).load(spec, weights, isa, Residency::one_layer, progress);
}

}  // namespace tender::model
