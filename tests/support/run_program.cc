#include "tests/support/run_program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/test_support.h"

namespace tender::testing {
namespace {

/// In the child: files as standard streams, then the program.
[[noreturn]] void become(const std::vector<std::string>& arguments,
                         const std::vector<std::pair<std::string, std::string>>& environment,
                         const TemporaryFolder& folder) {
  const auto attach = [&](const char* name, int flags, int fd) {
    const int file = open((folder / name).c_str(), flags, 0600);
    if (file < 0 || dup2(file, fd) < 0) _exit(126);
  };
  attach("in", O_RDONLY, STDIN_FILENO);
  attach("out", O_WRONLY | O_CREAT, STDOUT_FILENO);
  attach("err", O_WRONLY | O_CREAT, STDERR_FILENO);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv = {const_cast<char*>("tender")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(TENDER_BINARY, argv.data());
  _exit(127);
}

}  // namespace

Finished run_tender(const std::vector<std::string>& arguments,
                    const std::vector<std::pair<std::string, std::string>>& environment,
                    const std::string& standard_input) {
  const TemporaryFolder folder;
  write_text(folder / "in", standard_input);
  const pid_t child = fork();
  if (child == 0) become(arguments, environment, folder);
  int status = 0;
  waitpid(child, &status, 0);
  Finished finished;
  finished.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  finished.out = read_text(folder / "out");
  finished.err = read_text(folder / "err");
  return finished;
}

}  // namespace tender::testing
