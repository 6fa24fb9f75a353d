#pragma once

#include <cstddef>
#include <optional>

#include "io/checkpoint.h"

namespace tender::io {

/// Compares each stored tensor with its XXH3 in the directory's tender_report.json; runs at memory
/// speed and lets the pages go behind it.
/// @return how many tensors; nothing where there is no report, so no hashes
/// @throws Error corrupt_file (CK_CHECKSUM naming the tensor, CK_REPORT)
std::optional<std::size_t> verify_checksums(const Checkpoint& checkpoint);

}  // namespace tender::io
