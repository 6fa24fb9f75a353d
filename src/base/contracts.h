#pragma once

#include <cstdio>
#include <cstdlib>

namespace tender {

[[noreturn]] inline void contract_violated(const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: contract violated: %s\n", file, line, what);
  std::abort();
}

/// Stops the program when a programmer's promise is broken. Never for input: that is fail()'s.
inline void require(bool holds, const char* what, const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) noexcept {
  if (!holds) contract_violated(what, file, line);
}

}  // namespace tender
