#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"

namespace tender::compress {

/// What one method does, in 16 hexadecimal digits.
struct Signature {
  std::string method;
  std::string options;  ///< resolved, as JSON
  std::string hash;
};

/// One hash for each method of this build with its own defaults, over the packed bytes of a tiny
/// model made from a seed and 64 greedy tokens that it gives, all computed with the kernels of
/// `isa`. A refactoring must not change it; a commit that does says which and why.
std::vector<Signature> signatures(Isa isa);

}  // namespace tender::compress
