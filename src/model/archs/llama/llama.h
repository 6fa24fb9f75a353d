#pragma once

#include "model/architecture.h"

namespace tender::model {

/// Llama and what shares its blocks: Mistral (sliding window), Qwen 2 (biases of q, k, v),
/// SmolLM 2. Touvron et al. 2023, arXiv 2302.13971; grouped queries: Ainslie et al. 2023, arXiv
/// 2305.13245.
extern const Architecture kLlama;

}  // namespace tender::model
