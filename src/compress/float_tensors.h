#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/progress.h"
#include "io/safetensors_writer.h"
#include "model/model.h"

namespace tender::compress {

/// Types that tensors may have that stay float.
constexpr DType kFloatTypes[] = {DType::f16, DType::bf16, DType::f32};

/// Names of the weights of all linear layers that are quantized: those of every site but
/// `float_sites` (names), and an untied head's where it is; a tied one stays as the embedding.
std::set<std::string> quantized_weights(const model::ModelSpec& spec, bool quantized_head,
                                        const std::set<std::string>& float_sites = {});

/// Names of all float tensors that a quantized model keeps, in the order of the architecture.
/// @param quantized  names that it does not keep
std::vector<std::string> remaining_float(const model::ModelSpec& spec,
                                         const model::WeightReader& weights,
                                         const std::set<std::string>& quantized);

/// Reads every tensor once and refuses what could not be stored or quantized later, before hours of
/// work.
/// @param stored_as  for matrices that stay float
/// @throws Error invalid_input: Q_NONFINITE (NaN or infinity, with tensor and position),
/// FLOAT_RANGE (a
///         number too large for float16)
void check_weights(const model::ModelSpec& spec, const model::WeightReader& weights,
                   DType stored_as, const std::set<std::string>& quantized, Progress& progress);

/// A float tensor as it is stored: matrices in `type`, vectors (norms, biases) in float32. Rows are
/// read when their turn comes. `weights` outlives the result.
io::TensorToWrite float_tensor(const model::WeightReader& weights, const std::string& name,
                               DType type);

}  // namespace tender::compress
