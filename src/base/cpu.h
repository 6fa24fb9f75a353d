#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tender {

/// Instruction sets as a mask; the names are those of the file suffixes in
/// cmake/TenderModule.cmake. Each set includes what its suffix adds to: `vnni` never stands without
/// `avx512` and `avx2`.
enum class Isa : std::uint32_t {
  scalar = 0,
  avx2 = 1U << 0,     ///< AVX2, FMA, F16C
  avxvnni = 1U << 1,  ///< AVX-VNNI
  avx512 = 1U << 2,   ///< AVX-512 F, BW, DQ, VL
  vnni = 1U << 3,     ///< AVX-512 VNNI
  vbmi = 1U << 4,     ///< AVX-512 VBMI, VBMI2
  bf16 = 1U << 5,     ///< AVX-512 BF16
  amx = 1U << 6,      ///< AMX tile, int8, bf16, with the system's permission
};

constexpr Isa operator|(Isa a, Isa b) {
  return static_cast<Isa>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr bool contains(Isa have, Isa needed) {
  return (static_cast<std::uint32_t>(have) & static_cast<std::uint32_t>(needed)) ==
         static_cast<std::uint32_t>(needed);
}

/// What this CPU and system offer, whatever the environment says.
Isa detected_isa();

/// What TENDER_CPU allows: scalar, avx2, avx512, vnni, amx, native. Any other name is
/// `invalid_argument`.
Isa allowed_isa(std::string_view name);

/// detected_isa() less what TENDER_CPU forbids. Kernels are chosen with it, once, at load.
/// @throws Error invalid_argument if TENDER_CPU is set to an unknown name
Isa host_isa();

/// The names of the sets in a mask, such as "avx2 avx512 vnni"; "scalar" if it is empty.
std::string to_string(Isa isa);

/// Model name of the CPU as the system reports it.
std::string cpu_name();

}  // namespace tender
