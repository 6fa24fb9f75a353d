#include "base/memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace tender {
namespace {

constexpr std::uint64_t kLeast = std::uint64_t{1} << 20U;

/// MemAvailable of /proc/meminfo; where there is none, no limit is known.
std::uint64_t available_to_the_system() {
  std::ifstream info("/proc/meminfo");
  std::string key;
  std::uint64_t kib = 0;
  for (std::string unit; info >> key >> kib; std::getline(info, unit))
    if (key == "MemAvailable:") return kib * 1024;
  return std::numeric_limits<std::uint64_t>::max();
}

/// File pages of the group that it would get back before it ran out.
std::uint64_t reclaimable_by_the_group() {
  std::ifstream stat("/sys/fs/cgroup/memory.stat");
  std::string key;
  for (std::uint64_t bytes = 0; stat >> key >> bytes;)
    if (key == "inactive_file") return bytes;
  return 0;
}

/// Of a control group, version 2, at the root of what this process sees: memory.max less what is
/// used and cannot be reclaimed; "max" is no number.
std::uint64_t left_to_the_group() {
  std::uint64_t most = 0, used = 0;
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  std::ifstream current("/sys/fs/cgroup/memory.current");
  if (!(limit >> most) || !(current >> used)) return std::numeric_limits<std::uint64_t>::max();
  used -= std::min(used, reclaimable_by_the_group());
  return most > used ? most - used : 0;
}

std::uint64_t left_to_the_process() {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return std::numeric_limits<std::uint64_t>::max();
  return limit.rlim_cur;
}

}  // namespace

std::size_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

std::uint64_t available_memory() {
  return std::max(
      kLeast, std::min({available_to_the_system(), left_to_the_group(), left_to_the_process()}));
}

void keep_freed_memory() {
#if defined(__GLIBC__)
  constexpr int kMost = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kMost);
  mallopt(M_TRIM_THRESHOLD, kMost);
#endif
}

}  // namespace tender
