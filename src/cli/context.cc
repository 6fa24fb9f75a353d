#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace tender::cli {
namespace {

volatile sig_atomic_t interrupted = 0;

void on_interrupt(int) { interrupted = 1; }

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

/// Bar, share, ETA and the step at hand, redrawn in place on a terminal.
class TerminalProgress : public Progress {
 public:
  explicit TerminalProgress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~TerminalProgress() override { end(); }

  void update(std::uint64_t done, std::uint64_t total, std::string_view what) override {
    if (quiet_ || total == 0) return;
    const auto now = Clock::now();
    if (total != total_ || done < done_) began_ = now, drawn_ = {};
    total_ = total;
    done_ = done;
    const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
    if (done != total && drawn_ != Clock::time_point{} && now - drawn_ < pause) return;
    drawn_ = now;
    draw(std::chrono::duration<double>(now - began_).count(), what);
  }

  void note(std::string_view sentence) override {
    end();
    if (!quiet_) fmt::print(stderr, "tender: note: {}\n", sentence);
  }

  bool cancelled() const override { return interrupted != 0; }

  void end() {
    if (open_) std::fputc('\n', stderr);
    open_ = false;
    total_ = 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void draw(double elapsed, std::string_view what) {
    const double share = static_cast<double>(done_) / static_cast<double>(total_);
    const bool guess = done_ > 0 && done_ < total_;
    const std::string eta =
        guess ? "ETA " + clock_text(elapsed * (1 - share) / share) : clock_text(elapsed);
    if (!terminal_) {
      fmt::print(stderr, "{:3.0f}% {}/{} {} {}\n", share * 100, done_, total_, eta, what);
      return;
    }
    constexpr int kBar = 24;
    const int filled = static_cast<int>(share * kBar);
    fmt::print(stderr, "\r\x1b[K{:━<{}}{:╌<{}} {:3.0f}% {}/{} {} {}", "", filled, "", kBar - filled,
               share * 100, done_, total_, eta, what);
    std::fflush(stderr);
    open_ = true;
    if (done_ == total_) end();
  }

  bool quiet_;
  bool terminal_;
  bool open_ = false;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  Clock::time_point began_;
  Clock::time_point drawn_;
};

}  // namespace

Context::Context(const Flags& flags)
    : flags_(flags), progress_(std::make_unique<TerminalProgress>(flags.quiet)) {}
Context::~Context() = default;

std::size_t Context::threads() const { return flags_.threads.value_or(default_threads()); }

ThreadPool& Context::pool() {
  if (!pool_) pool_ = std::make_unique<ThreadPool>(threads());
  return *pool_;
}

void Context::end_progress() { static_cast<TerminalProgress&>(*progress_).end(); }

void Context::emit(const OrderedJson& document) const {
  if (!flags_.json) return;
  OrderedJson whole = {{"version", kJsonVersion}, {"tender", kToolVersion}};
  whole.update(document);
  fmt::print("{}\n", to_text(whole, 2));
}

void Context::print(std::string_view text) const {
  if (!flags_.json) fmt::print("{}", text);
}

void Context::remark(std::string_view text) const {
  if (!flags_.quiet) fmt::print(stderr, "{}", text);
}

InterruptGuard::InterruptGuard() {
  interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

bool InterruptGuard::raised() { return interrupted != 0; }

}  // namespace tender::cli
