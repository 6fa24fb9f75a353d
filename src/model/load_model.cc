#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

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

void validate(const RunOptions& options, const io::Checkpoint& checkpoint, const ModelSpec& spec) {
  validate(options);
  if (!options.weights) return;
  const bool quantized =
      checkpoint.config() != nullptr && checkpoint.config()->contains("quantization_config");
  const auto refuse = [&](const char* asked, const char* found, const char* expected,
                          const char* hint) {
    fail(ErrorKind::invalid_argument,
         {.code = "WEIGHTS",
          .file = name_of(checkpoint),
          .item = "--weights",
          .found = found,
          .expected = expected,
          .hint = hint},
         "--weights {}: the model has {}", asked, found);
  };
  if (*options.weights == BlockWeights::dequantized && quantized)
    refuse("dequantized", "weights that a method of tender has packed", "a float or GGUF model",
           "leave --weights out; the model runs as it was quantized");
  if (*options.weights == BlockWeights::packed && !quantized &&
      !has_block_weights(checkpoint, spec))
    refuse("packed", "no matrices in blocks of 32",
           "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K in a GGUF file",
           "leave --weights out, or quantize the model with tender quantize");
}

namespace {

/// Tells which sites of a file in blocks run in float32 all the same.
void note_floats(const io::Checkpoint& checkpoint, const ModelSpec& spec, Progress& progress) {
  std::map<std::string, std::size_t> reasons;
  const std::vector<BlockSite> sites = block_sites(checkpoint, spec);
  for (const BlockSite& site : sites)
    if (!site.why.empty()) ++reasons[site.why];
  for (const auto& [why, count] : reasons)
    progress.note(fmt::format("{} of {} sites run in float32: {}", count, sites.size(), why));
}

std::unique_ptr<Decoder> load(const io::Checkpoint& checkpoint, const ModelSpec& spec,
                              const WeightReader& weights, const Loading& loading,
                              const RunOptions& options) {
  if (blocks_of(options) == BlockWeights::packed) note_floats(checkpoint, spec, loading.progress);
  auto decoder = architecture_of(checkpoint).load(spec, weights, loading);
  if (options.kv_bits) decoder->use_kv_bits(*options.kv_bits);
  return decoder;
}

}  // namespace

std::unique_ptr<Model> load_model(const io::Checkpoint& checkpoint, Isa isa, ThreadPool& pool,
                                  Progress& progress, const RunOptions& options) {
  const ModelSpec spec = read_spec(checkpoint);
  validate(options, checkpoint, spec);
  const WeightReader weights(checkpoint, spec, blocks_of(options), &pool);
  return load(checkpoint, spec, weights, {isa, Residency::all, &pool, progress}, options);
}

std::unique_ptr<LayerwiseModel> load_layerwise(const io::Checkpoint& checkpoint,
                                               const ModelSpec& spec, const WeightReader& weights,
                                               Isa isa, Progress& progress,
                                               const RunOptions& options) {
  validate(options, checkpoint, spec);
  return load(checkpoint, spec, weights, {isa, Residency::one_layer, nullptr, progress}, options);
}

}  // namespace tender::model
