#pragma once

#include <string>
#include <vector>

namespace tender::io {

/// Names for a message: quoted, at most twelve of them, "nothing" if there are none.
std::string listed(const std::vector<std::string>& names);

}  // namespace tender::io
