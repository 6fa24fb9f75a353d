#include "cli/cli.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/commands.h"

namespace tender::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

bool json_errors = false;  // read by the signal handler

/// Every failure says what to do: where the place that failed does not know, this does.
std::string hint_of(const ErrorDetails& details, bool usage) {
  if (!details.hint.empty()) return details.hint;
  if (usage && !details.expected.empty()) return "expected " + details.expected;
  return usage ? "tender COMMAND --help explains the options" : "check the input and run again";
}

/// Negative numbers are refused for unsigned options, which would take them modulo 2^64.
void refuse_negative_numbers(CLI::App& app) {
  const auto check = [](const std::string& text) {
    return text.starts_with('-') ? "expected a number that is not negative, found " + text
                                 : std::string();
  };
  for (CLI::Option* option : app.get_options())
    if (option->get_type_name().starts_with("UINT")) option->check(CLI::Validator(check, ""));
  for (CLI::App* group : app.get_subcommands(nullptr)) refuse_negative_numbers(*group);
}

/// What CLI11 says, or the name that no command has.
std::string usage_text(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;
    std::string known;
    for (const CLI::App* sub : app.get_subcommands(nullptr)) {
      if (sub->get_name() == argv[i]) return error.what();
      known += (known.empty() ? "" : ", ") + sub->get_name();
    }
    return fmt::format("unknown command {}: there are {}", quote(argv[i]), known);
  }
  return error.what();
}

/// One sentence and a hint on stderr; with --json the error object on stdout.
void report(const ErrorDetails& details, const std::string& text, bool json) {
  if (json) {
    OrderedJson error = {{"code", details.code}, {"message", text}};
    error["file"] = details.file.empty() ? OrderedJson() : OrderedJson(details.file);
    error["offset"] = details.offset ? OrderedJson(*details.offset) : OrderedJson();
    error["item"] = details.item.empty() ? OrderedJson() : OrderedJson(details.item);
    error["found"] = details.found.empty() ? OrderedJson() : OrderedJson(details.found);
    error["expected"] = details.expected.empty() ? OrderedJson() : OrderedJson(details.expected);
    error["hint"] = details.hint;
    fmt::print(
        "{}\n",
        to_text(OrderedJson{{"version", kJsonVersion}, {"tender", kToolVersion}, {"error", error}},
                2));
    return;
  }
  fmt::print(stderr, "tender: error {}: {}\n", details.code, text);
  if (!details.hint.empty()) fmt::print(stderr, "  hint: {}\n", details.hint);
}

/// A mapped file that shrinks kills its readers by SIGBUS: say so instead of dying silently.
void on_bus_error(int) {
  constexpr char kText[] =
      "tender: error IO_CHANGED: a file of the model became shorter while it was read\n"
      "  hint: do not change files in use; run again when they are whole\n";
  constexpr char kJson[] =
      "{\"version\": 1, \"error\": {\"code\": \"IO_CHANGED\", \"message\": \"a file of the model "
      "became "
      "shorter while it was read\", \"hint\": \"do not change files in use; run again when they "
      "are whole\"}}\n";
  const auto put = [](int fd, const char* text) { return write(fd, text, std::strlen(text)); };
  static_cast<void>(json_errors ? put(STDOUT_FILENO, kJson) : put(STDERR_FILENO, kText));
  _exit(kFailed);
}

/// Runs the chosen command and turns what it throws into an exit code.
int guarded(Command& command, Context& context, bool json) {
  try {
    host_isa();  // a bad TENDER_CPU is refused by every command
    command.run(context);
    context.end_progress();
    if (std::fflush(stdout) != 0)
      fail(ErrorKind::io, {.code = "IO_WRITE"}, "standard output cannot be written: {}",
           std::strerror(errno));
    return context.failed() ? kFailed : 0;
  } catch (const Error& error) {
    context.end_progress();
    ErrorDetails details = error.details();
    details.hint = hint_of(details, error.kind() == ErrorKind::invalid_argument);
    report(details, error.what(), json);
    return error.kind() == ErrorKind::invalid_argument ? kUsage : kFailed;
  } catch (const std::system_error& error) {  // fmt::print where standard output cannot be written
    context.end_progress();
    const bool full = error.code().value() == ENOSPC;
    report({.code = full ? "IO_NOSPACE" : "IO_WRITE", .hint = "check where standard output goes"},
           fmt::format("standard output cannot be written: {}", error.code().message()), false);
  } catch (const std::bad_alloc&) {
    context.end_progress();
    report({.code = "MEMORY", .hint = "use a smaller model, --context or batch"},
           "there is not enough memory", json);
  } catch (const std::exception& error) {
    context.end_progress();
    report({.code = "INTERNAL",
            .hint = "this is a defect of tender; please report the command and the input"},
           error.what(), json);
  }
  return kFailed;
}

std::string help_of(const std::string& command) {
  return command.empty() ? "tender --help" : "tender " + command + " --help";
}

}  // namespace

int run(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = on_bus_error;
  sigaction(SIGBUS, &action, nullptr);
  signal(SIGPIPE, SIG_DFL);

  CLI::App app("Makes large language models small and fast on ordinary CPUs.", "tender");
  Context::Flags flags;
  app.set_version_flag("--version", fmt::format("tender {}", kToolVersion));
  app.add_option("-t,--threads", flags.threads, "Threads to use (default: physical cores)")
      ->check(CLI::Range(1, 1024));
  app.add_flag("-q,--quiet", flags.quiet, "No progress and no remarks on stderr");
  app.add_flag("--json", flags.json, "Results and errors as one JSON document on stdout");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "tender COMMAND --help explains a command. TENDER_CPU=scalar|avx2|avx512|vnni|amx|native "
      "limits the\n"
      "instruction sets. Exit codes: 0 done, 1 failed, 2 wrong command line.");

  std::vector<std::unique_ptr<Command>> commands;
  Command* chosen = nullptr;
  for (const CommandFactory make : all_commands()) {
    commands.push_back(make());
    Command& command = *commands.back();
    CLI::App* sub = app.add_subcommand(std::string(command.name()), std::string(command.summary()));
    sub->fallthrough();
    command.declare(*sub);
    refuse_negative_numbers(*sub);
    sub->final_callback([&chosen, &command] { chosen = &command; });
  }

  const bool json = std::any_of(argv, argv + argc,
                                [](const char* arg) { return std::strcmp(arg, "--json") == 0; });
  json_errors = json;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    std::string name;
    for (const CLI::App* sub : app.get_subcommands()) name = sub->get_name();
    report({.code = "USAGE", .hint = help_of(name) + " lists what there is"},
           usage_text(app, error, argc, argv), json);
    return kUsage;
  }
  Context context(flags);
  return guarded(*chosen, context, json);
}

}  // namespace tender::cli
