#pragma once

#include <cstddef>

#include "kernels/rope/rope.h"
#include "model/hf_config.h"

namespace tender::model {

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) as config.json describes it: in
/// rope_theta and rope_scaling, or in rope_parameters as newer files have it. Types `default`,
/// `linear`, `llama3`, and `longrope` where its two lists are one (so are divisors of a GGUF file
/// written).
/// @throws Error corrupt_file (HF_PARAM), unsupported (ARCH_FEATURE)
kernels::RopeParameters read_rope(const HfConfig& config, std::size_t head_width);

}  // namespace tender::model
