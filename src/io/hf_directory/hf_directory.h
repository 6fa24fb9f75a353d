#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "io/checkpoint.h"

namespace tender::io {

/// A Hugging Face directory: config.json, model.safetensors or shards with an index, tokenizer
/// files.
/// @throws Error as parse_safetensors(), and HF_*, IO_LINK (checkpoints.md 8.2)
std::unique_ptr<Checkpoint> open_hf_directory(const std::filesystem::path& path, Need need);

/// Whether `name` names a file directly in a directory and nothing else.
bool is_plain_file_name(std::string_view name);

}  // namespace tender::io
