#include "base/child_process.h"

#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "base/error.h"

extern char** environ;

namespace tender {
namespace {

constexpr std::size_t kTail = 1000;  ///< bytes of standard error that are looked at

/// The last line that is not empty: what programs end with when they fail.
std::string last_line_of(int file) {
  const off_t size = lseek(file, 0, SEEK_END);
  if (size <= 0) return {};
  std::string text(std::min(kTail, static_cast<std::size_t>(size)), '\0');
  const ssize_t got = pread(file, text.data(), text.size(), size - static_cast<off_t>(text.size()));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  text.resize(text.find_last_not_of("\n\r ") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

/// @return its status, or nothing where it runs on (WNOHANG)
std::optional<int> wait_for(pid_t process, int options) {
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(process, &status, options);
    if (ended < 0 && errno == EINTR) continue;
    if (ended == process) return status;
    return ended < 0 ? std::optional<int>(0) : std::nullopt;
  }
}

/// A program that has closed its output is given a second to end.
int wait_or_kill(pid_t process) {
  for (int i = 0; i < 100; ++i) {
    if (const auto status = wait_for(process, WNOHANG)) return *status;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(process, SIGKILL);
  return wait_for(process, 0).value_or(0);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments) : name_(arguments.front()) {
  int ends[2] = {-1, -1};
  const bool opened = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
  errors_ = memfd_create("errors of a child", MFD_CLOEXEC);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO})
    posix_spawn_file_actions_adddup2(&actions, ends[1], standard);
  posix_spawn_file_actions_adddup2(&actions, errors_, STDERR_FILENO);
  // a process group of its own: Ctrl-C on a terminal is its owner's to answer
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t process = -1;
  const int problem = opened && errors_ >= 0 ? posix_spawnp(&process, argv.front(), &actions,
                                                            &attributes, argv.data(), environ)
                                             : errno;
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (ends[1] >= 0) close(ends[1]);
  socket_ = ends[0];
  if (problem != 0) {
    if (socket_ >= 0) close(socket_);
    if (errors_ >= 0) close(errors_);
    fail(ErrorKind::io,
         {.code = "CHILD_START",
          .item = name_,
          .found = std::strerror(problem),
          .hint = "is it installed, and in PATH?"},
         "{} cannot be started: {}", quote(name_), std::strerror(problem));
  }
  process_ = process;
}

ChildProcess::~ChildProcess() {
  close(socket_);
  if (process_ > 0) {
    kill(process_, SIGKILL);
    wait_for(process_, 0);
  }
  close(errors_);
}

void ChildProcess::write_line(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t sent = send(socket_, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) ended();
    at += static_cast<std::size_t>(sent);
  }
}

std::string ChildProcess::read_line(const Progress& progress) {
  constexpr int kMilliseconds = 100;  // between two looks at whether the user still wants it
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (progress.cancelled()) fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled");
    pollfd wanted{socket_, POLLIN, 0};
    if (poll(&wanted, 1, kMilliseconds) <= 0) continue;
    char bytes[4096];
    const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) ended();
    buffer_.append(bytes, static_cast<std::size_t>(got));
  }
}

void ChildProcess::ended() {
  const int status = process_ > 0 ? wait_or_kill(process_) : 0;
  process_ = -1;
  const std::string how = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                              : "status " + std::to_string(WEXITSTATUS(status));
  fail(ErrorKind::io,
       {.code = "CHILD_ENDED",
        .item = name_,
        .found = how,
        .hint = "run it by hand to see all that it says"},
       "{} ended with {}; the last it said: {}", quote(name_), how, quote(last_line_of(errors_)));
}

}  // namespace tender
