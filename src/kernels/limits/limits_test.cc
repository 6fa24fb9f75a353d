#include "kernels/limits/limits.h"

#include <gtest/gtest.h>

#include <vector>

namespace tender::kernels {
namespace {

TEST(Limits, ThePeakIsThatOfTheBestInstructionAllowedAndNoneWithoutOne) {
  ThreadPool pool(1);
  EXPECT_EQ(integer_peak(Isa::scalar, pool).operations, 0);
  EXPECT_EQ(integer_peak(Isa::scalar, pool).instruction, "");
  for (const PeakProbe& probe : peak_probes()) {
    if (!contains(detected_isa(), probe.needs)) continue;
    const IntegerPeak peak = integer_peak(probe.needs, pool);
    EXPECT_EQ(peak.instruction, probe.instruction);
    EXPECT_GT(peak.operations, 1e9) << probe.instruction;
    EXPECT_LT(peak.operations, 1e13) << probe.instruction;
  }
}

TEST(Limits, ReadsAllMemoryAtARateThatMemoryCanHave) {
  ThreadPool pool(2);
  const std::vector<std::uint8_t> memory(8'000'011, 1);
  const double rate = read_rate(memory, pool);
  EXPECT_GT(rate, 1e7);
  EXPECT_LT(rate, 1e13);
}

}  // namespace
}  // namespace tender::kernels
