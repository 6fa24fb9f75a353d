#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor_source.h"

namespace tender::io {

/// Turns the bytes of one block into its numbers: out[traits(type).block].
using BlockFn = void (*)(const std::uint8_t* block, float* out);

struct BlockFormat {
  DType type;
  BlockFn expand;
};

/// The block formats of GGUF that we compute with.
///
/// Each product of scale and code is exact in float32 (11 bits of a half, at most 6 of a sub-scale
/// or 8 of one, at most 7 of a code), so a value is rounded at most once, when its minimum is
/// added.
std::span<const BlockFormat> block_formats();

}  // namespace tender::io
