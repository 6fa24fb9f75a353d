#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor_source.h"

namespace tender::quant {

// Parts are little-endian; so is every machine this builds for, and bytes are copied as they are.
static_assert(std::endian::native == std::endian::little);

/// METHOD_PART, the name of a part of a method.
std::string part_of(std::string_view method, std::string_view part);

/// The values of a part, whose bytes may lie at any address.
template <class T>
std::vector<T> values_of(const Part& part) {
  std::vector<T> values(part.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), part.bytes.data(), values.size() * sizeof(T));
  return values;
}

/// The part of that name whatever its shape, of that type and rank, no side empty or above 2^20.
/// @throws Error corrupt_file (CK_PART_MISSING, CK_PART_SHAPE)
Part get_ranked(const PartSource& source, std::string_view name, DType type, std::size_t rank);

/// @throws Error corrupt_file with `code`, naming the part and the place
[[noreturn]] void refuse_part(const PartSource& source, std::string_view name,
                              std::string_view code, const std::string& found,
                              const std::string& expected);

/// Each finite and above 0. @throws Error corrupt_file (QC_SCALE)
void check_scales(const PartSource& source, std::string_view name, std::span<const float> scales);

/// @throws Error corrupt_file (QC_RANGE) unless every value is finite
void check_finite(const PartSource& source, std::string_view name, std::span<const float> values);

/// @throws Error corrupt_file (QC_RANGE) unless low <= value <= high; `item` says which number of
/// the part
void check_number(const PartSource& source, std::string_view name, std::string_view item,
                  std::int64_t value, std::int64_t low, std::int64_t high);

}  // namespace tender::quant
