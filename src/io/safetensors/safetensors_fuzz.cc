#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/hf_directory/shard_index.h"
#include "io/safetensors/safetensors_structure.h"

/// Any bytes as a safetensors file and as an index of shards: refused with an Error, or tensors can
/// be read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tender;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    std::uint64_t covered = 0;
    for (const TensorInfo& tensor : io::parse_safetensors(bytes, "fuzz").tensors) {
      covered += tensor.bytes.size();
      if (!io::is_computable(tensor.type)) continue;
      std::vector<float> values(tensor.elements());
      io::to_float32(tensor, values);
    }
    if (covered > size) __builtin_trap();  // tensors that do not overlap lie within the file
  } catch (const Error& error) {
    if (error.code().empty()) __builtin_trap();
  }
  try {
    io::parse_shard_index({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const Error& error) {
    if (error.code().empty()) __builtin_trap();
  }
  return 0;
}
