#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "io/gguf/gguf_structure.h"

/// Any bytes as a GGUF file: refused with an Error, or every tensor can be read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tender;
  constexpr std::uint64_t kMostElements = 1U << 16U;
  try {
    const auto file = io::parse_gguf(std::as_bytes(std::span(data, size)), "fuzz");
    std::vector<float> values;
    for (const TensorInfo& tensor : file.tensors) {
      if (!io::is_computable(tensor.type) || tensor.elements() > kMostElements) continue;
      values.resize(tensor.elements());
      io::to_float32(tensor, values);
    }
    const io::GgufMetadata metadata("fuzz", file.metadata);
    for (const auto& [key, value] : metadata.all()) {
      static_cast<void>(io::describe_type(value));
      metadata.find_integer(key, 0, 100);
    }
  } catch (const Error& error) {
    if (error.code().empty()) __builtin_trap();
  }
  return 0;
}
