#pragma once

#include <cstdint>
#include <string_view>

namespace tender {

/// Told how far long work has come; a library never prints. The base class says nothing.
class Progress {
 public:
  virtual ~Progress() = default;

  /// @param done, total  units of work, total > 0
  /// @param what         the step at hand, such as "window 12, perplexity 23.1"
  virtual void update(std::uint64_t done, std::uint64_t total, std::string_view what) {
    static_cast<void>(done), static_cast<void>(total), static_cast<void>(what);
  }

  /// One line for people: a remark on the input, a fallback that was taken.
  virtual void note(std::string_view sentence) { static_cast<void>(sentence); }

  /// True when the user wants the work to end early with what there is (Ctrl-C).
  virtual bool cancelled() const { return false; }
};

}  // namespace tender
