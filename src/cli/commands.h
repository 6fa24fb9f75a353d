#pragma once

#include <memory>
#include <vector>

#include "cli/command.h"

namespace tender::cli {

using CommandFactory = std::unique_ptr<Command> (*)();

// One declaration and one line in the list for each subcommand, in the order of the help.
std::unique_ptr<Command> make_inspect();
std::unique_ptr<Command> make_convert();
std::unique_ptr<Command> make_tokenize();
std::unique_ptr<Command> make_quantize();
std::unique_ptr<Command> make_calibration();
std::unique_ptr<Command> make_logits();
std::unique_ptr<Command> make_eval();
std::unique_ptr<Command> make_reproduce();
std::unique_ptr<Command> make_rewrite();
std::unique_ptr<Command> make_generate();
std::unique_ptr<Command> make_chat();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_signature();

/// Every subcommand of this build.
inline const std::vector<CommandFactory>& all_commands() {
  static const std::vector<CommandFactory> commands = {
      make_inspect, make_convert, make_tokenize,  make_quantize, make_calibration,
      make_logits,  make_eval,    make_reproduce, make_rewrite,  make_generate,
      make_chat,    make_bench,   make_signature,
  };
  return commands;
}

}  // namespace tender::cli
