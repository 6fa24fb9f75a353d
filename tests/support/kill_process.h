#pragma once

// A run whose process is killed, as an operator or the system does it: no destructor runs.

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>

#include "base/progress.h"

namespace tender::testing {

/// Where a run is killed: at the first update that contains `update` after a note that contains
/// `note`.
struct KillAt {
  std::string_view note;  ///< empty: from the start
  std::string_view update;
};

/// Runs `work` in a process of its own. @return whether SIGKILL ended it: it came that far
inline bool killed(KillAt at, const std::function<void(Progress&)>& work) {
  class Kill : public Progress {
   public:
    explicit Kill(KillAt place) : place_(place) {}
    void note(std::string_view sentence) override {
      noted_ = noted_ || sentence.find(place_.note) != std::string_view::npos;
    }
    void update(std::uint64_t, std::uint64_t, std::string_view what) override {
      if ((noted_ || place_.note.empty()) && what.find(place_.update) != std::string_view::npos)
        ::raise(SIGKILL);
    }

   private:
    KillAt place_;
    bool noted_ = false;
  };
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    try {
      Kill kill(at);
      work(kill);
    } catch (const std::exception&) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
         WTERMSIG(status) == SIGKILL;
}

}  // namespace tender::testing
