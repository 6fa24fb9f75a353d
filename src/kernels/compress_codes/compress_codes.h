#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace tender::kernels {

/// A set of channels as bits, 64 to a word: channel k is bit k % 64 of word k / 64.
constexpr std::uint32_t kChannelsOfWord = 64;

/// Writes the codes of some channels side by side, as bytes, in rising order of channels.
/// @param codes  [words * 64], each in [-128, 255]; those beyond the row's width are in no set
/// @param channels  [words]
/// @param out  [room], at least the codes in full quads: the rest of the last quad is 0, what
/// follows it may become 0
/// @return the sum of the codes
using CompressCodesFn = std::int32_t (*)(const std::int16_t* codes, const std::uint64_t* channels,
                                         std::size_t words, std::uint8_t* out, std::size_t room);

struct CompressCodesKernel {
  std::string_view name;
  Isa needs;
  CompressCodesFn compress;
};

/// Best first; the scalar one is the definition.
std::span<const CompressCodesKernel> compress_codes_kernels();
const CompressCodesKernel& best_compress_codes(Isa isa);

namespace isa {
std::int32_t compress_codes_vbmi(const std::int16_t* codes, const std::uint64_t* channels,
                                 std::size_t words, std::uint8_t* out, std::size_t room);
}  // namespace isa

}  // namespace tender::kernels
