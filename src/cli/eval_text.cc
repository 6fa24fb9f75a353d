#include "cli/eval_text.h"

#include <cstdlib>

#include "base/error.h"
#include "eval/evaluated_model.h"

namespace tender::cli {
namespace {

constexpr double kLeastGib = 0.001;
constexpr double kMostGib = 1e6;

/// "one (what it is); other (what it is)" for help.
template <class List>
std::string described(std::string text, const List& list) {
  for (const auto& each : list) text += fmt::format(" {} ({});", each.name, each.summary);
  text.pop_back();
  return text;
}

}  // namespace

void TextOptions::declare(CLI::App& app) {
  app.add_option("--text", text_, "File to evaluate, UTF-8")->required();
  app.add_option("--protocol", protocol_,
                 described("What makes numbers comparable:", eval::all_protocols()))
      ->capture_default_str();
  app.add_option("--join", join_,
                 described("How rows of the file become the text:", eval::all_joins()) +
                     "; default none, but what papers do where the file is WikiText-2's "
                     "wiki.test.raw");
  app.add_option("--seqlen", seqlen_, "Tokens of a window (default: the protocol's)");
  app.add_option("--limit", limit_, "Evaluate only so many windows");
  app.add_flag("--replace-invalid", replace_invalid_, "Read bytes that are not UTF-8 as U+FFFD");
}

eval::PerplexityOptions TextOptions::validated() const {
  const eval::PerplexityOptions options{
      .protocol = &eval::protocol(protocol_), .seqlen = seqlen_, .limit = limit_};
  eval::validate(options);
  if (join_) eval::join(*join_);
  return options;
}

eval::TextInput TextOptions::read(const eval::PerplexityOptions& options,
                                  Progress& progress) const {
  return eval::read_text(
      text_, join_, options.protocol->known_join,
      replace_invalid_ ? compress::InvalidText::replace : compress::InvalidText::refuse, progress);
}

void MemoryOption::declare(CLI::App& app) {
  app.add_option("--memory", gib_,
                 "GiB that models may take: if their weights as float32 need more, they are run "
                 "layer by layer, to the same numbers (default: 3/4 of what the machine can spare)")
      ->check([](const std::string& text) -> std::string {
        // A range alone would let NaN through.
        char* end = nullptr;
        const double gib = std::strtod(text.c_str(), &end);
        return end == text.c_str() + text.size() && gib >= kLeastGib && gib <= kMostGib
                   ? std::string()
                   : fmt::format("{} is not a number from {} to {}", quote(text), kLeastGib,
                                 kMostGib);
      });
}

std::uint64_t MemoryOption::bytes() const {
  return gib_ ? static_cast<std::uint64_t>(*gib_ * (1U << 30U)) : eval::memory_to_spare();
}

std::string interrupted_text(bool interrupted) {
  return interrupted ? "; INTERRUPTED: the value is that of the windows before" : "";
}

}  // namespace tender::cli
