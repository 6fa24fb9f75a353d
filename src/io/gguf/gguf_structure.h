#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.h"

namespace tender::io {

/// What a GGUF file says of itself; tensors point into the bytes that were parsed.
struct GgufStructure {
  std::uint32_t version = 0;
  GgufMetadata::Map metadata;
  std::vector<TensorInfo> tensors;
};

/// Reads GGUF version 2 or 3 (the layout is in checkpoints.md, section 6.1). Everything is checked
/// before the first value is kept, so what a bad file can cost is time linear in its metadata.
/// @param bytes  the whole file
/// @param file   its name, for errors
/// @throws Error corrupt_file or unsupported, codes GG_* (checkpoints.md 8.3, G1 to G7)
GgufStructure parse_gguf(std::span<const std::byte> bytes, const std::string& file);

/// "GGUF" in either byte order.
bool looks_like_gguf(std::span<const std::byte> bytes);

/// The name of a value type as files mean it: "u32", "array of string".
std::string describe_type(const GgufValue& value);

}  // namespace tender::io
