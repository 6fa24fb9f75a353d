#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_source.h"

namespace tender::io {

/// What a safetensors file holds; tensors point into the bytes that were parsed, in order of the
/// header.
struct SafetensorsStructure {
  std::map<std::string, std::string> metadata;
  std::vector<TensorInfo> tensors;
};

/// Reads a safetensors file by the rules of checkpoints.md, section 3. Everything is checked before
/// the first tensor is kept, so what a bad header can cost is time linear in its length.
/// @param bytes  the whole file
/// @param file   its name, for errors
/// @throws Error corrupt_file, codes ST_* and JSON_DEPTH (checkpoints.md 8.1)
SafetensorsStructure parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

/// A header length that can be true, then '{'.
bool looks_like_safetensors(std::span<const std::byte> bytes);

}  // namespace tender::io
