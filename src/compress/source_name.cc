#include "compress/source_name.h"

#include <filesystem>
#include <system_error>

namespace tender::compress {

std::string source_name(const io::Checkpoint& checkpoint) {
  std::error_code error;
  const auto whole = std::filesystem::weakly_canonical(checkpoint.path(), error);
  return (error ? checkpoint.path() : whole).filename().string();
}

}  // namespace tender::compress
