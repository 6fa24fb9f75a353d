#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"
#include "io/checkpoint.h"
#include "io/gguf/block_formats.h"

namespace tender::io {
namespace {

/// Converts `count` elements that begin at `from`; whole blocks.
using ConvertFn = void (*)(const std::byte* from, std::size_t count, float* out);

template <class T, float (*ToFloat)(T)>
void convert(const std::byte* from, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    T value;  // tensors need not be aligned in their files
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    out[i] = ToFloat(value);
  }
}

template <class T>
float number(T value) {
  return static_cast<float>(value);
}

/// half_to_float() without branches, so that the loop runs in vectors: the exponent is moved by an
/// exact multiplication, which also turns subnormal halves into numbers.
float half(std::uint16_t bits) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(bits & 0x7fffU) << 13U;
  const auto moved = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const std::uint32_t special = magnitude | 0x7f800000U;  // infinity and NaN
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
  return std::bit_cast<float>(sign | ((bits & 0x7c00U) == 0x7c00U ? special : moved));
}

struct Conversion {
  DType type;
  ConvertFn run;
};
constexpr std::array kConversions = {
    Conversion{DType::f32, convert<float, number<float>>},
    Conversion{DType::f16, convert<std::uint16_t, half>},
    Conversion{DType::bf16, convert<std::uint16_t, bf16_to_float>},
    Conversion{DType::f64, convert<double, number<double>>},
    Conversion{DType::i8, convert<std::int8_t, number<std::int8_t>>},
    Conversion{DType::u8, convert<std::uint8_t, number<std::uint8_t>>},
    Conversion{DType::i16, convert<std::int16_t, number<std::int16_t>>},
    Conversion{DType::u16, convert<std::uint16_t, number<std::uint16_t>>},
    Conversion{DType::i32, convert<std::int32_t, number<std::int32_t>>},
    Conversion{DType::u32, convert<std::uint32_t, number<std::uint32_t>>},
    Conversion{DType::i64, convert<std::int64_t, number<std::int64_t>>},
    Conversion{DType::u64, convert<std::uint64_t, number<std::uint64_t>>},
};

ConvertFn conversion_of(DType type) {
  for (const Conversion& conversion : kConversions)
    if (conversion.type == type) return conversion.run;
  return nullptr;
}

BlockFn block_of(DType type) {
  for (const BlockFormat& format : block_formats())
    if (format.type == type) return format.expand;
  return nullptr;
}

/// Elements [begin, begin + out.size()) of a tensor; both are whole blocks.
void elements_to_float32(const TensorInfo& tensor, std::uint64_t begin, std::span<float> out) {
  const DTypeTraits& type = traits(tensor.type);
  const std::size_t block_bytes = type.bits / 8;
  const std::byte* from = tensor.bytes.data() + begin / type.block * block_bytes;
  if (const ConvertFn run = conversion_of(tensor.type)) {
    run(from, out.size(), out.data());
  } else if (const BlockFn expand = block_of(tensor.type)) {
    for (std::size_t at = 0; at < out.size(); at += type.block, from += block_bytes)
      expand(reinterpret_cast<const std::uint8_t*>(from), out.data() + at);
  } else {
    fail(ErrorKind::unsupported,
         {.code = "TENSOR_TYPE",
          .item = tensor.name,
          .found = std::string(type.name),
          .expected = "a type whose values this build can compute",
          .hint = "convert the model to F16, BF16, F32 or one of the Q types first"},
         "tensor {} is stored as {}, whose values this build cannot compute", quote(tensor.name),
         type.name);
  }
}

}  // namespace

bool is_computable(DType type) {
  return conversion_of(type) != nullptr || block_of(type) != nullptr;
}

void to_float32(const TensorInfo& tensor, std::span<float> out) {
  require(out.size() == tensor.elements(), "out has one number for each element");
  elements_to_float32(tensor, 0, out);
}

void rows_to_float32(const TensorInfo& tensor, std::uint64_t begin, std::uint64_t count,
                     std::span<float> out) {
  const std::uint64_t width = tensor.shape.empty() ? 1 : tensor.shape.back();
  const std::uint64_t rows = width == 0 ? 0 : tensor.elements() / width;
  require(begin <= rows && count <= rows - begin, "the rows exist");
  require(out.size() == count * width, "out is [count, width]");
  elements_to_float32(tensor, begin * width, out);
}

}  // namespace tender::io
