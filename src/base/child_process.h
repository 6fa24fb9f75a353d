#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"

namespace tender {

/// A program that answers lines with lines: its standard input and output are ours, what it says on
/// standard error is kept for messages. It ends with its owner, and hears no Ctrl-C of its own.
class ChildProcess {
 public:
  /// @param arguments  program (looked for in PATH), then what it is given
  /// @throws Error io (CHILD_START)
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// @throws Error io (CHILD_ENDED)
  void write_line(std::string_view line);
  /// The next line without its end. Waits for it, unless `progress` is cancelled.
  /// @throws Error io (CHILD_ENDED) with the last that it said on standard error, io (CANCELLED)
  std::string read_line(const Progress& progress);

 private:
  [[noreturn]] void ended();

  std::string name_;
  int socket_ = -1;
  int errors_ = -1;
  int process_ = -1;
  std::string buffer_;
};

}  // namespace tender
