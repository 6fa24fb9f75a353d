#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tender::testing {

struct Finished {
  int exit_code = -1;  ///< 128 + signal where it was killed
  std::string out;
  std::string err;
};

/// Runs the `tender` binary of this build and waits for its end.
/// @param environment  variables set on top of this process' own
Finished run_tender(const std::vector<std::string>& arguments,
                    const std::vector<std::pair<std::string, std::string>>& environment = {},
                    const std::string& standard_input = "");

}  // namespace tender::testing
