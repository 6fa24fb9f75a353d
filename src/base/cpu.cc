#include "base/cpu.h"

#include <array>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tender {
namespace {

struct NamedIsa {
  std::string_view name;
  Isa isa;
};

constexpr std::array kSets = {
    NamedIsa{"avx2", Isa::avx2}, NamedIsa{"avxvnni", Isa::avxvnni}, NamedIsa{"avx512", Isa::avx512},
    NamedIsa{"vnni", Isa::vnni}, NamedIsa{"vbmi", Isa::vbmi},       NamedIsa{"bf16", Isa::bf16},
    NamedIsa{"amx", Isa::amx},
};

constexpr Isa kUpToAvx512 = Isa::avx2 | Isa::avx512;
constexpr Isa kUpToVnni = kUpToAvx512 | Isa::avxvnni | Isa::vnni | Isa::vbmi | Isa::bf16;

constexpr std::array kAllowed = {
    NamedIsa{"scalar", Isa::scalar},       NamedIsa{"avx2", Isa::avx2},
    NamedIsa{"avx512", kUpToAvx512},       NamedIsa{"vnni", kUpToVnni},
    NamedIsa{"amx", kUpToVnni | Isa::amx}, NamedIsa{"native", kUpToVnni | Isa::amx},
};

#if defined(__x86_64__)
bool bit(unsigned reg, unsigned index) { return (reg >> index & 1U) != 0; }

std::uint64_t enabled_state() {
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32U | low;
}

bool amx_permitted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr unsigned long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return Isa::scalar;
  const bool osxsave = bit(c, 27), fma = bit(c, 12), f16c = bit(c, 29), avx = bit(c, 28);
  if (!osxsave || !avx) return Isa::scalar;
  const std::uint64_t state = enabled_state();
  const bool ymm = (state & 0x6U) == 0x6U, zmm = (state & 0xe6U) == 0xe6U;
  const bool tiles = (state & 0x60000U) == 0x60000U;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::scalar;
  Isa isa = Isa::scalar;
  if (!(ymm && fma && f16c && bit(b, 5))) return isa;
  isa = isa | Isa::avx2;
  const bool avx512 = zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
  if (avx512) isa = isa | Isa::avx512;
  if (avx512 && bit(c, 11)) isa = isa | Isa::vnni;
  if (contains(isa, Isa::vnni) && bit(c, 1) && bit(c, 6)) isa = isa | Isa::vbmi;
  const bool amx = tiles && bit(d, 24) && bit(d, 25) && bit(d, 22);
  if (amx && contains(isa, Isa::vnni) && amx_permitted()) isa = isa | Isa::amx;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    if (bit(a, 4)) isa = isa | Isa::avxvnni;
    if (bit(a, 5) && avx512) isa = isa | Isa::bf16;
  }
  return isa;
}
#else
Isa detect() { return Isa::scalar; }
#endif

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa allowed_isa(std::string_view name) {
  std::string known;
  for (const NamedIsa& entry : kAllowed) {
    if (entry.name == name) return entry.isa;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  fail(ErrorKind::invalid_argument,
       {.code = "CPU_NAME",
        .item = "TENDER_CPU",
        .found = std::string(name),
        .expected = known,
        .hint = "unset TENDER_CPU to use everything that this CPU has"},
       "TENDER_CPU is {}: expected one of {}", quote(name), known);
}

Isa host_isa() {
  const char* name = std::getenv("TENDER_CPU");
  const Isa allowed = allowed_isa(name == nullptr || *name == 0 ? "native" : name);
  return static_cast<Isa>(static_cast<std::uint32_t>(detected_isa()) &
                          static_cast<std::uint32_t>(allowed));
}

std::string to_string(Isa isa) {
  std::string names;
  for (const NamedIsa& set : kSets)
    if (contains(isa, set.isa)) names += (names.empty() ? "" : " ") + std::string(set.name);
  return names.empty() ? "scalar" : names;
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

}  // namespace tender
