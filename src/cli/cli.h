#pragma once

namespace tender::cli {

/// The whole program. @return the exit code: 0 done, 1 failed, 2 wrong command line
int run(int argc, char** argv);

}  // namespace tender::cli
