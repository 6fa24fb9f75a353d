#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/eval_text.h"

namespace tender::cli {

/// `tender eval compare BASE MODEL… --text FILE`.
class EvalCompare {
 public:
  void declare(CLI::App& app);
  void run(Context& context) const;

 private:
  std::string base_;
  std::vector<std::string> models_;
  TextOptions text_;
  MemoryOption memory_;
  model::RunOptions run_;  ///< of the models, not of the base
};

}  // namespace tender::cli
