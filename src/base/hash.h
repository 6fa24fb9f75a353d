#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tender {

/// SHA-256 in lower-case hexadecimal.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

/// XXH3, 64 bits, as 16 lower-case hexadecimal digits: integrity of stored tensors, no security.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace tender
