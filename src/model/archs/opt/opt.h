#pragma once

#include "model/architecture.h"

namespace tender::model {

/// OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions, layer norms before each block
/// (after it in the 350M), ReLU, biases. GGUF has no such architecture.
extern const Architecture kOpt;

}  // namespace tender::model
