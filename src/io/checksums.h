#pragma once

#include <cstddef>
#include <optional>

#include "base/thread_pool.h"
#include "io/checkpoint.h"

namespace tender::io {

/// Compares each stored tensor with its XXH3 in the directory's tender_report.json; runs at memory
/// speed.
/// @param pool  null where one thread does it, which lets the pages go behind it; with threads they
/// stay, for a reader that comes next
/// @return how many tensors; nothing where there is no report, so no hashes
/// @throws Error corrupt_file (CK_CHECKSUM naming the tensor, CK_REPORT)
std::optional<std::size_t> verify_checksums(const Checkpoint& checkpoint,
                                            ThreadPool* pool = nullptr);

}  // namespace tender::io
