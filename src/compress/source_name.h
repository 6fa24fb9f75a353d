#pragma once

#include <string>

#include "io/checkpoint.h"

namespace tender::compress {

/// The name of a model for people: that of its file or directory, however its path was written.
std::string source_name(const io::Checkpoint& checkpoint);

}  // namespace tender::compress
