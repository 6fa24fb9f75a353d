#pragma once

#include <filesystem>
#include <memory>

#include "base/mapped_file.h"
#include "io/checkpoint.h"

namespace tender::io {

/// A GGUF file, with the other parts where it is one of a split model.
/// @throws Error as parse_gguf(); corrupt_file or not_found (GG_SPLIT_MISSING, GG_SPLIT_MIXED,
/// GG_DUPLICATE_TENSOR)
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path, MappedFile file);

}  // namespace tender::io
