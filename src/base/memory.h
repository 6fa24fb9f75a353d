#pragma once

#include <cstddef>
#include <cstdint>

namespace tender {

/// Resident memory of this process at its highest, in bytes.
std::size_t peak_resident_bytes();

/// What the system says a new process could use without swapping, in bytes; a limit on the address
/// space, or on the control group at the root of this process's view (a container's own), counts
/// where it is lower. At least 1 MiB.
std::uint64_t available_memory();

/// From now on freed memory stays with the process, up to 1 GiB, to be used again: buffers of a
/// pass are as large as those of the pass before, and pages that come from the system anew are
/// cleared first (6 % of prefill at 1B). For programs that run a model, after it was loaded. Does
/// nothing where the C library has no such switch.
void keep_freed_memory();

}  // namespace tender
