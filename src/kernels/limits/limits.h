#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace tender::kernels {

/// What this machine does at most, measured where it runs: a speed means something beside it.
struct IntegerPeak {
  double operations = 0;         ///< per second, a multiply and an add each; 0 where none is known
  std::string_view instruction;  ///< that reaches it; empty where none is known
};

/// The best instruction of `isa` for 8-bit products, out of registers, all threads at once; some 20
/// ms, the best of five.
IntegerPeak integer_peak(Isa isa, ThreadPool& pool);

/// Bytes per second at which the threads read this memory, each its part; the best of five, after
/// one that is not counted.
double read_rate(std::span<const std::uint8_t> memory, ThreadPool& pool);

/// A loop of products without memory.
struct PeakProbe {
  std::string_view instruction;
  Isa needs;
  std::size_t operations;  ///< of a turn
  void (*run)(std::size_t turns);
};
/// Best first; empty where none was written for the CPU's family.
std::span<const PeakProbe> peak_probes();

namespace isa {
void peak_amx(std::size_t turns);
void peak_vnni(std::size_t turns);
void peak_avxvnni(std::size_t turns);
void peak_avx2(std::size_t turns);
}  // namespace isa

}  // namespace tender::kernels
