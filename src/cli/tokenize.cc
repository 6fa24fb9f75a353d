#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/token_ids.h"
#include "io/checkpoint.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

class Tokenize : public Command {
 public:
  std::string_view name() const override { return "tokenize"; }
  std::string_view summary() const override { return "Turn text into token ids, or ids into text"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or directory; a vocabulary alone is enough")
        ->required();
    auto* input = app.add_option_group("input", "One of these");
    input->add_option("--text", file_, "File whose bytes are the text");
    input->add_option("--prompt", prompt_, "The text itself");
    input->add_option("--decode", ids_, "Token ids to turn into text, such as 1,2,3");
    input->require_option(1);
    app.add_flag("--no-special", no_special_,
                 "Add no BOS and EOS; with --decode, leave special tokens out");
    app.add_flag("--literal", literal_, "Special tokens written in the text are text");
    app.footer("Example: tender tokenize models/smollm2-135m --prompt \"Hello world\" --json");
  }

  void run(Context& context) override {
    const auto ids = ids_ ? parse_token_ids(*ids_, "--decode") : std::vector<text::TokenId>();
    const auto checkpoint = io::open_checkpoint(model_, io::Need::tokenizer);
    const auto tokenizer = text::open_tokenizer(*checkpoint);
    for (const std::string& note : tokenizer->notes())
      context.remark("tender: note: " + note + "\n");
    if (ids_)
      decode(*tokenizer, ids, context);
    else
      encode(*tokenizer, context);
  }

 private:
  void encode(const text::Tokenizer& tokenizer, Context& context) const {
    const std::string text = file_ ? read_file(*file_) : *prompt_;
    std::vector<text::TokenId> ids;
    if (!file_ || !text.empty())  // an empty file has no tokens, not even BOS
      ids = tokenizer.encode(text, {.add_special = !no_special_, .parse_special = !literal_});
    if (context.json()) return context.emit({{"ids", ids}});
    std::string line;
    for (const text::TokenId id : ids) line += (line.empty() ? "" : ",") + std::to_string(id);
    context.print(line + "\n");
  }

  void decode(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
              Context& context) const {
    for (const text::TokenId id : ids)
      if (!tokenizer.exists(id))
        fail(ErrorKind::invalid_input,
             {.code = "TK_NO_SUCH_ID",
              .file = model_,
              .item = std::to_string(id),
              .expected = fmt::format("ids below {}", tokenizer.vocabulary()),
              .hint = "the ids belong to another vocabulary"},
             "no token has the id {}", id);
    const std::string text = tokenizer.decode(ids, !no_special_);
    if (context.json()) return context.emit({{"text", text}});
    context.print(text + "\n");
  }

  std::string model_;
  std::optional<std::string> file_;
  std::optional<std::string> prompt_;
  std::optional<std::string> ids_;
  bool no_special_ = false;
  bool literal_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize() { return std::make_unique<Tokenize>(); }

}  // namespace tender::cli
