#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"

namespace tender::compress {

/// Names of the published shapes that there are: "llama-1b", "llama-7b-4l", "smollm2-135m".
std::vector<std::string_view> synthetic_shapes();

/// A model of a published shape whose weights are random, in memory: for speed, where what a model
/// says does not matter. Norms are 1; matrices are of one type, with scales that keep rows of a
/// size.
/// @param type  by its name: F16, or one of GGUF that quant/formats/blocks.h can make
/// @throws Error invalid_argument (SYNTHETIC) for a shape or type that there is not
std::unique_ptr<io::Checkpoint> synthetic_checkpoint(std::string_view shape, std::string_view type,
                                                     std::uint64_t seed);

}  // namespace tender::compress
