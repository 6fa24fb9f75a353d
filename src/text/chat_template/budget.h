#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace tender::text {

constexpr std::uint64_t kTemplateSteps = 1'000'000;
constexpr std::size_t kTemplateBytes = std::size_t{4} << 20U;
/// Longest range(): the limit of the sandbox that Hugging Face renders templates in.
constexpr std::int64_t kTemplateRange = 100'000;
/// Values within values, so that no walk over a value exhausts the stack.
constexpr std::uint32_t kTemplateValueDepth = 100;
/// Expressions and statements within each other, in the source.
constexpr std::uint32_t kTemplateSourceDepth = 200;
/// Evaluations within each other at run time, macros that call themselves included.
constexpr std::uint32_t kTemplateRunDepth = 600;

/// What one rendering may still spend. Every evaluation is a step and so are 64 bytes that are read
/// or made, so a template of any kind ends within a second and makes at most 64 MB in all.
class TemplateBudget {
 public:
  /// @throws Error invalid_input TPL_STEPS
  void step(std::uint64_t count = 1) {
    steps_ += count;
    if (steps_ > kTemplateSteps)
      fail(ErrorKind::invalid_input,
           {.code = "TPL_STEPS", .expected = "at most 1000000 steps", .hint = "the template loops"},
           "rendering takes more than {} steps", kTemplateSteps);
  }

  /// Work that looks at so many bytes.
  void read(std::size_t bytes) { step(bytes / 64); }

  /// A string or collection of so many bytes is about to be made. @throws Error TPL_OUTPUT,
  /// TPL_STEPS
  void make(std::size_t bytes) {
    if (bytes > kTemplateBytes)
      fail(ErrorKind::invalid_input,
           {.code = "TPL_OUTPUT",
            .expected = "at most 4 MiB of output and in any string or list",
            .hint = "the template multiplies its text, or the conversation is too long"},
           "the template makes more than {} bytes", kTemplateBytes);
    read(bytes);
  }

 private:
  std::uint64_t steps_ = 0;
};

}  // namespace tender::text
