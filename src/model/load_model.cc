#include "model/architecture.h"

namespace tender::model {

std::unique_ptr<Model> load_model(const io::Checkpoint& checkpoint, Isa isa, ThreadPool&,
                                  Progress& progress) {
  const ModelSpec spec = read_spec(checkpoint);
  const WeightReader weights(checkpoint, spec);
  return architecture_of(checkpoint).load(spec, weights, isa, progress);
}

}  // namespace tender::model
