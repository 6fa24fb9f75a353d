#pragma once

#include <cstddef>
#include <cstdint>

namespace tender {

/// Resident memory of this process at its highest, in bytes.
std::size_t peak_resident_bytes();

/// What the system says a new process could use without swapping, in bytes; a limit on this
/// process's control group or address space counts where it is lower. At least 1 MiB.
std::uint64_t available_memory();

}  // namespace tender
