#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/progress.h"
#include "base/thread_pool.h"

namespace CLI {
class App;
}

namespace tender::cli {

/// What every subcommand gets: the flags that stand everywhere, and where its output goes.
///
/// Results go to stdout, progress and remarks to stderr. With --json stdout holds one document.
class Context {
 public:
  struct Flags {
    std::optional<std::size_t> threads;
    bool quiet = false;
    bool json = false;
  };

  explicit Context(const Flags& flags);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  bool json() const { return flags_.json; }
  bool quiet() const { return flags_.quiet; }
  /// --threads, or the number of physical cores.
  std::size_t threads() const;
  /// Made on first use.
  ThreadPool& pool();
  /// A progress line with ETA on a terminal, plain lines now and then elsewhere, nothing with
  /// --quiet.
  Progress& progress() { return *progress_; }
  /// Ends the progress line, so that what follows on stderr stands alone.
  void end_progress();

  /// Prints the one JSON document of a run; `version` and `tender` are put in front.
  void emit(const OrderedJson& document) const;
  /// Prints a result for people to stdout (nothing with --json).
  void print(std::string_view text) const;
  /// Prints a remark to stderr (nothing with --quiet).
  void remark(std::string_view text) const;

  /// Ends the run with exit code 1 although it has printed a result: work that was cut short.
  void mark_failed() { failed_ = true; }
  bool failed() const { return failed_; }

 private:
  Flags flags_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Progress> progress_;
  bool failed_ = false;
};

/// One subcommand. A file src/cli/<name>.cc holds its options and run(); commands.h lists it.
///
///     class Inspect : public Command {
///       std::string_view name() const override { return "inspect"; }
///       std::string_view summary() const override { return "Show what a model file holds"; }
///       void declare(CLI::App& app) override {
///         app.add_option("model", model_, "GGUF file, Hugging Face directory or safetensors
///         file")->required();
///       }
///       void run(Context& context) override { … context.emit({{"tensors", 3}}); }
///       std::string model_;
///     };
///     std::unique_ptr<Command> make_inspect() { return std::make_unique<Inspect>(); }
///
/// run() throws Error; the frame prints it and sets the exit code (2 for invalid_argument, else 1).
/// Flags that every subcommand has (--json, --quiet, --threads, --help, --version) are not
/// declared.
class Command {
 public:
  virtual ~Command() = default;
  virtual std::string_view name() const = 0;
  virtual std::string_view summary() const = 0;
  /// Declares options, help texts and examples (app.footer).
  virtual void declare(CLI::App& app) = 0;
  virtual void run(Context& context) = 0;
};

/// While it lives, Ctrl-C and SIGTERM only raise a flag (Progress::cancelled() tells it too); the
/// second one ends the process.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  static bool raised();
};

/// Version of the JSON documents; it rises when a key changes its meaning or goes.
constexpr int kJsonVersion = 1;
constexpr std::string_view kToolVersion = TENDER_VERSION;

}  // namespace tender::cli
