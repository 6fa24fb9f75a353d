#include "tensor/tensor_source.h"

#include <array>

#include "base/checked.h"
#include "base/contracts.h"
#include "base/error.h"

namespace tender {
namespace {

constexpr std::optional<int> kNone = std::nullopt;

// Safetensors types by its documentation, block types by ggml's; ids as in GGUF files.
constexpr std::array kTraits = {
    DTypeTraits{DType::boolean, "BOOL", 1, 8, true, kNone},
    DTypeTraits{DType::f4, "F4", 1, 4, true, kNone},
    DTypeTraits{DType::f6_e2m3, "F6_E2M3", 1, 6, true, kNone},
    DTypeTraits{DType::f6_e3m2, "F6_E3M2", 1, 6, true, kNone},
    DTypeTraits{DType::u8, "U8", 1, 8, true, kNone},
    DTypeTraits{DType::i8, "I8", 1, 8, true, 24},
    DTypeTraits{DType::f8_e5m2, "F8_E5M2", 1, 8, true, kNone},
    DTypeTraits{DType::f8_e4m3, "F8_E4M3", 1, 8, true, kNone},
    DTypeTraits{DType::f8_e8m0, "F8_E8M0", 1, 8, true, kNone},
    DTypeTraits{DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 1, 8, true, kNone},
    DTypeTraits{DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 1, 8, true, kNone},
    DTypeTraits{DType::i16, "I16", 1, 16, true, 25},
    DTypeTraits{DType::u16, "U16", 1, 16, true, kNone},
    DTypeTraits{DType::f16, "F16", 1, 16, true, 1},
    DTypeTraits{DType::bf16, "BF16", 1, 16, true, 30},
    DTypeTraits{DType::i32, "I32", 1, 32, true, 26},
    DTypeTraits{DType::u32, "U32", 1, 32, true, kNone},
    DTypeTraits{DType::f32, "F32", 1, 32, true, 0},
    DTypeTraits{DType::c64, "C64", 1, 64, true, kNone},
    DTypeTraits{DType::f64, "F64", 1, 64, true, 28},
    DTypeTraits{DType::i64, "I64", 1, 64, true, 27},
    DTypeTraits{DType::u64, "U64", 1, 64, true, kNone},
    DTypeTraits{DType::q4_0, "Q4_0", 32, 18 * 8, false, 2},
    DTypeTraits{DType::q4_1, "Q4_1", 32, 20 * 8, false, 3},
    DTypeTraits{DType::q5_0, "Q5_0", 32, 22 * 8, false, 6},
    DTypeTraits{DType::q5_1, "Q5_1", 32, 24 * 8, false, 7},
    DTypeTraits{DType::q8_0, "Q8_0", 32, 34 * 8, false, 8},
    DTypeTraits{DType::q8_1, "Q8_1", 32, 36 * 8, false, 9},
    DTypeTraits{DType::q2_k, "Q2_K", 256, 84 * 8, false, 10},
    DTypeTraits{DType::q3_k, "Q3_K", 256, 110 * 8, false, 11},
    DTypeTraits{DType::q4_k, "Q4_K", 256, 144 * 8, false, 12},
    DTypeTraits{DType::q5_k, "Q5_K", 256, 176 * 8, false, 13},
    DTypeTraits{DType::q6_k, "Q6_K", 256, 210 * 8, false, 14},
    DTypeTraits{DType::q8_k, "Q8_K", 256, 292 * 8, false, 15},
    DTypeTraits{DType::iq2_xxs, "IQ2_XXS", 256, 66 * 8, false, 16},
    DTypeTraits{DType::iq2_xs, "IQ2_XS", 256, 74 * 8, false, 17},
    DTypeTraits{DType::iq3_xxs, "IQ3_XXS", 256, 98 * 8, false, 18},
    DTypeTraits{DType::iq1_s, "IQ1_S", 256, 50 * 8, false, 19},
    DTypeTraits{DType::iq4_nl, "IQ4_NL", 32, 18 * 8, false, 20},
    DTypeTraits{DType::iq3_s, "IQ3_S", 256, 110 * 8, false, 21},
    DTypeTraits{DType::iq2_s, "IQ2_S", 256, 82 * 8, false, 22},
    DTypeTraits{DType::iq4_xs, "IQ4_XS", 256, 136 * 8, false, 23},
    DTypeTraits{DType::iq1_m, "IQ1_M", 256, 56 * 8, false, 29},
    DTypeTraits{DType::tq1_0, "TQ1_0", 256, 54 * 8, false, 34},
    DTypeTraits{DType::tq2_0, "TQ2_0", 256, 66 * 8, false, 35},
    DTypeTraits{DType::mxfp4, "MXFP4", 32, 17 * 8, false, 39},
    DTypeTraits{DType::nvfp4, "NVFP4", 64, 36 * 8, false, 40},
    DTypeTraits{DType::q1_0, "Q1_0", 128, 18 * 8, false, 41},
    DTypeTraits{DType::q2_0, "Q2_0", 64, 18 * 8, false, 42},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTraits.size(); ++i)
    if (static_cast<std::size_t>(kTraits[i].type) != i) return false;
  return true;
}
static_assert(in_order(), "traits() indexes the table by the type");

constexpr std::uint64_t kElementLimit = std::uint64_t{1} << 48U;

}  // namespace

std::span<const DTypeTraits> all_dtypes() { return kTraits; }

const DTypeTraits& traits(DType type) {
  const auto index = static_cast<std::size_t>(type);
  require(index < kTraits.size(), "a DType is one of the table");
  return kTraits[index];
}

std::optional<std::uint64_t> element_count(const Shape& shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) {
    const auto product = checked_mul(count, extent);
    if (!product || *product >= kElementLimit) return std::nullopt;
    count = *product;
  }
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

std::uint64_t TensorInfo::elements() const {
  const auto count = element_count(shape);
  require(count.has_value(), "the shape of an opened tensor was checked");
  return *count;
}

Part PartSource::get(std::string_view name, DType type, const Shape& shape) const {
  const auto part = find(name);
  if (!part)
    fail(ErrorKind::corrupt_file,
         {.code = "CK_PART_MISSING",
          .item = where(),
          .expected = std::string(name),
          .hint = "the checkpoint is incomplete; quantize again"},
         "{} has no part {}", where(), quote(name));
  const auto elements = element_count(shape);
  const bool whole =
      elements && part->bytes.size() * 8 == *elements / traits(type).block * traits(type).bits;
  if (part->type != type || part->shape != shape || !whole)
    fail(ErrorKind::corrupt_file,
         {.code = "CK_PART_SHAPE",
          .item = where(),
          .found = fmt::format("{} {} in {} bytes", to_string(part->type), to_string(part->shape),
                               part->bytes.size()),
          .expected = fmt::format("{} {}", to_string(type), to_string(shape)),
          .hint = "the checkpoint is damaged; quantize again"},
         "part {} of {} is {} {}: expected {} {}", quote(name), where(), to_string(part->type),
         to_string(part->shape), to_string(type), to_string(shape));
  return *part;
}

}  // namespace tender
