#include "io/name_index.h"

#include <bit>
#include <cstring>
#include <random>

namespace tender::io {
namespace {

constexpr std::uint64_t kPrime = (std::uint64_t{1} << 61U) - 1;

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  const std::uint64_t sum =
      static_cast<std::uint64_t>(product & kPrime) + static_cast<std::uint64_t>(product >> 61U);
  return sum >= kPrime ? sum - kPrime : sum;
}

std::uint64_t random_point() {
  std::random_device device;
  const std::uint64_t drawn = std::uint64_t{device()} << 32U | device();
  return drawn % (kPrime - 2) + 2;
}

}  // namespace

NameIndex::NameIndex(std::size_t names) : slots_(std::bit_ceil(names * 2 + 1), kFree) {}

std::uint64_t NameIndex::hash(std::string_view name) {
  static const std::uint64_t kPoint = random_point();
  std::uint64_t value = name.size() + 1;
  while (!name.empty()) {
    const std::size_t step = name.size() < 7 ? name.size() : 7;  // 56 bits: less than the prime
    std::uint64_t digit = 0;
    std::memcpy(&digit, name.data(), step);
    value = multiply(value, kPoint) + digit;
    value = value >= kPrime ? value - kPrime : value;
    name.remove_prefix(step);
  }
  return multiply(value, kPoint);
}

}  // namespace tender::io
