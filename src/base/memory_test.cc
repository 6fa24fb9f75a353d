#include "base/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace tender {
namespace {

TEST(Memory, WhatIsAvailableIsMoreThanThisTestAndLessThanAnyMachineHas) {
  EXPECT_GE(available_memory(), std::uint64_t{1} << 20U);
  EXPECT_LT(available_memory(), std::uint64_t{1} << 50U);
  EXPECT_GT(peak_resident_bytes(), std::size_t{1} << 20U);
}

TEST(Memory, ALimitOfTheAddressSpaceCounts) {
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  struct rlimit lower = before;
  lower.rlim_cur = available_memory() / 2;
  if (setrlimit(RLIMIT_AS, &lower) != 0) GTEST_SKIP() << "the address space cannot be limited here";
  const std::uint64_t limited = available_memory();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_LE(limited, lower.rlim_cur);
}

}  // namespace
}  // namespace tender
