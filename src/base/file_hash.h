#pragma once

#include <filesystem>
#include <string>

namespace tender {

/// SHA-256 of a file in lower-case hexadecimal. It is read in slices whose pages are given back, so
/// that a large model does not become resident for it.
/// @throws Error as MappedFile
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace tender
