#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/progress.h"
#include "eval/perplexity.h"
#include "eval/text_input.h"

namespace tender::cli {

/// The options that say which windows of which text are evaluated: every subcommand of eval has
/// them.
class TextOptions {
 public:
  void declare(CLI::App& app);
  /// @throws Error invalid_argument; before any file is read
  eval::PerplexityOptions validated() const;
  eval::TextInput read(const eval::PerplexityOptions& options, Progress& progress) const;

 private:
  std::string text_;
  std::string protocol_ = std::string(eval::all_protocols().front().name);
  std::optional<std::string> join_;
  std::optional<std::size_t> seqlen_;
  std::optional<std::size_t> limit_;
  bool replace_invalid_ = false;
};

/// `--memory GIB`: what evaluated models may take.
class MemoryOption {
 public:
  void declare(CLI::App& app);
  std::uint64_t bytes() const;

 private:
  std::optional<double> gib_;
};

/// "; INTERRUPTED: …" behind a result that was cut short, or nothing.
std::string interrupted_text(bool interrupted);

}  // namespace tender::cli
