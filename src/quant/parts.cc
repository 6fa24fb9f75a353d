#include "quant/parts.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace tender::quant {

std::string part_of(std::string_view method, std::string_view part) {
  return fmt::format("{}_{}", method, part);
}

Part get_ranked(const PartSource& source, std::string_view name, DType type, std::size_t rank) {
  constexpr std::uint64_t kMaxSide = std::uint64_t{1} << 20U;
  const auto part = source.find(name);
  const Shape shape = part ? part->shape : Shape(rank, 1);
  const bool fits = shape.size() == rank &&
                    std::all_of(shape.begin(), shape.end(),
                                [](std::uint64_t side) { return side > 0 && side <= kMaxSide; });
  if (!fits)
    refuse_part(source, name, "CK_PART_SHAPE", to_string(shape),
                fmt::format("{} sides from 1 to {}", rank, kMaxSide));
  return source.get(name, type, shape);
}

void refuse_part(const PartSource& source, std::string_view name, std::string_view code,
                 const std::string& found, const std::string& expected) {
  fail(ErrorKind::corrupt_file,
       {.code = std::string(code),
        .item = source.where() + "." + std::string(name),
        .found = found,
        .expected = expected,
        .hint = "the checkpoint is damaged; quantize again"},
       "part {} of {}: {}; expected {}", quote(name), source.where(), found, expected);
}

void check_scales(const PartSource& source, std::string_view name, std::span<const float> scales) {
  for (std::size_t i = 0; i < scales.size(); ++i)
    if (!(std::isfinite(scales[i]) && scales[i] > 0))
      refuse_part(source, name, "QC_SCALE", fmt::format("scale {} is {}", i, scales[i]),
                  "finite scales above 0");
}

void check_finite(const PartSource& source, std::string_view name, std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      refuse_part(source, name, "QC_RANGE", fmt::format("value {} is {}", i, values[i]),
                  "finite values");
}

void check_number(const PartSource& source, std::string_view name, std::string_view item,
                  std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high)
    refuse_part(source, name, "QC_RANGE", fmt::format("{} is {}", item, value),
                fmt::format("{} to {}", low, high));
}

}  // namespace tender::quant
