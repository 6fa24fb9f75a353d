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

}  // namespace tender
