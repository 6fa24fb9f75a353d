#include "base/error.h"
#include "model/architecture.h"
#include "model/blocks/decoder.h"

namespace tender::model {

void validate(const RunOptions& options) {
  if (!options.kv_bits || *options.kv_bits == 8 || *options.kv_bits == 4) return;
  fail(ErrorKind::invalid_argument,
       {.code = "KV_BITS",
        .item = "--kv-bits",
        .found = std::to_string(*options.kv_bits),
        .expected = "8 or 4"},
       "--kv-bits {}: expected 8 or 4", *options.kv_bits);
}

std::unique_ptr<Model> load_model(const io::Checkpoint& checkpoint, Isa isa, ThreadPool&,
                                  Progress& progress, const RunOptions& options) {
  validate(options);
  const ModelSpec spec = read_spec(checkpoint);
  const WeightReader weights(checkpoint, spec);
  auto decoder = architecture_of(checkpoint).load(spec, weights, isa, Residency::all, progress);
  if (options.kv_bits) decoder->use_kv_bits(*options.kv_bits);
  return decoder;
}

std::unique_ptr<LayerwiseModel> load_layerwise(const io::Checkpoint& checkpoint,
                                               const ModelSpec& spec, const WeightReader& weights,
                                               Isa isa, Progress& progress,
                                               const RunOptions& options) {
  validate(options);
  auto decoder =
      architecture_of(checkpoint).load(spec, weights, isa, Residency::one_layer, progress);
  if (options.kv_bits) decoder->use_kv_bits(*options.kv_bits);
  return decoder;
}

}  // namespace tender::model
