#include "io/checkpoint.h"

#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/containers.h"
#include "io/hf_directory/hf_directory.h"

namespace tender::io {

std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path, Need need) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return open_hf_directory(path, need);
  MappedFile file(path);
  for (const FileContainer& container : kFileContainers)
    if (container.recognises(file.bytes())) return container.open(path, std::move(file));
  for (const FileContainer& container : kFileContainers)  // its parser says best what is wrong
    if (path.extension() == container.ending) return container.open(path, std::move(file));
  const std::string begin = quote(file.text().substr(0, 8));
  fail(ErrorKind::unsupported,
       {.code = "IO_FORMAT",
        .file = path.string(),
        .offset = 0,
        .found = "a file that begins with " + begin,
        .expected = "a GGUF file, a safetensors file or a Hugging Face directory",
        .hint =
            "give the model's .gguf or .safetensors file, or the directory with its config.json"},
       "is neither a GGUF nor a safetensors file: it begins with {}", begin);
}

}  // namespace tender::io
