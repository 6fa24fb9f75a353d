#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "cli/command.h"
#include "compress/signature.h"

namespace tender::cli {
namespace {

class SignatureCommand : public Command {
 public:
  std::string_view name() const override { return "signature"; }
  std::string_view summary() const override { return "Print what every method does, as a hash"; }

  void declare(CLI::App& app) override {
    app.footer(
        "One hash for each method, over packed bytes and 64 greedy tokens of a tiny model made "
        "from a seed,\n"
        "computed by the scalar code. It changes only with what a method computes.");
  }

  void run(Context& context) override {
    OrderedJson methods = OrderedJson::object();
    for (const compress::Signature& signature : compress::signatures(Isa::scalar)) {
      context.print(fmt::format("{:<12}{}\n", signature.method, signature.hash));
      methods[signature.method] = signature.hash;
    }
    context.emit({{"signatures", methods}});
  }
};

}  // namespace

std::unique_ptr<Command> make_signature() { return std::make_unique<SignatureCommand>(); }

}  // namespace tender::cli
