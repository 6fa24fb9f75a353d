#pragma once

#include <filesystem>
#include <memory>

#include "base/mapped_file.h"
#include "io/checkpoint.h"

namespace tender::io {

/// A bare safetensors file. @throws Error as parse_safetensors()
std::unique_ptr<Checkpoint> open_safetensors(const std::filesystem::path& path, MappedFile file);

}  // namespace tender::io
