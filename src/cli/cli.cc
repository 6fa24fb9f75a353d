#include "cli/cli.h"

#include <fmt/format.h>

namespace tender::cli {

int run(int, char**) {
  fmt::print("tender 0.1.0\n");
  return 0;
}

}  // namespace tender::cli
