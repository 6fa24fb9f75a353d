#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/mapped_file.h"
#include "io/gguf/gguf_checkpoint.h"
#include "io/gguf/gguf_structure.h"
#include "io/safetensors/safetensors_checkpoint.h"
#include "io/safetensors/safetensors_structure.h"

namespace tender::io {

/// A kind of file that holds tensors. A directory is the one container that is no file.
struct FileContainer {
  std::string_view name;  ///< as Checkpoint::container() says it
  std::string_view
      ending;  ///< of file names: chooses which error explains a file that no one recognises
  bool (*recognises)(std::span<const std::byte> bytes);
  std::unique_ptr<Checkpoint> (*open)(const std::filesystem::path& path, MappedFile file);
};

/// To add a container: a folder beside this file and one line here.
inline constexpr std::array kFileContainers = {
    FileContainer{"gguf", ".gguf", looks_like_gguf, open_gguf},
    FileContainer{"safetensors", ".safetensors", looks_like_safetensors, open_safetensors},
};

}  // namespace tender::io
