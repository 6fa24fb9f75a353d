#include "cli/conversation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"

namespace tender::cli {
namespace {

const std::string& required_template(const text::Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty())
    fail(ErrorKind::invalid_input,
         {.code = "CHAT_NO_TEMPLATE",
          .item = "chat_template",
          .hint = "it is a base model, perhaps: `tender generate` continues any text"},
         "the model has no chat template");
  return tokenizer.chat_template();
}

}  // namespace

Conversation::Conversation(const text::Tokenizer& tokenizer)
    : tokenizer_(tokenizer), template_(required_template(tokenizer), "chat template") {
  const text::SpecialTokens& special = tokenizer.special();
  if (special.bos) options_.bos_token = tokenizer.piece(*special.bos);
  if (special.eos) options_.eos_token = tokenizer.piece(*special.eos);
  for (std::size_t id = 0; id < tokenizer.vocabulary(); ++id) {
    const auto token = static_cast<text::TokenId>(id);
    if (!tokenizer.is_special(token)) continue;
    std::string text = tokenizer.piece(token);
    if (!text.empty()) special_.push_back(std::move(text));
  }
}

void Conversation::add(std::string_view role, std::string_view content) {
  turns_.push_back({std::string(role), std::string(content)});
}

OrderedJson Conversation::messages() const {
  OrderedJson messages = OrderedJson::array();
  for (const Turn& turn : turns_)
    messages.push_back({{"role", turn.role}, {"content", turn.content}});
  return messages;
}

std::string Conversation::unused_mark() const {
  // U+FDD0 to U+FDEF are no characters: they are reserved for uses such as this one.
  for (char32_t mark = 0xfdd0; mark <= 0xfdef; ++mark) {
    std::string text;
    append_utf8(mark, text);
    const bool used = std::any_of(turns_.begin(), turns_.end(), [&](const Turn& turn) {
      return turn.content.find(text) != std::string::npos;
    });
    if (!used) return text;
  }
  fail(ErrorKind::invalid_input,
       {.code = "CHAT_TEXT", .hint = "take the characters U+FDD0 to U+FDEF out of the text"},
       "the conversation holds every character that could mark special tokens");
}

std::string Conversation::with_marks(const std::string& content, const std::string& mark) const {
  std::string out;
  for (std::size_t at = 0; at < content.size(); ++at) {
    const std::string_view rest = std::string_view(content).substr(at);
    const bool special =
        std::any_of(special_.begin(), special_.end(),
                    [&](const std::string& token) { return rest.starts_with(token); });
    out += content[at];
    if (special) out += mark;
  }
  return out;
}

std::vector<text::TokenId> Conversation::tokens() const {
  const std::string mark = unused_mark();
  OrderedJson messages = OrderedJson::array();
  for (const Turn& turn : turns_)
    messages.push_back({{"role", turn.role}, {"content", with_marks(turn.content, mark)}});
  const std::string text = template_.render(messages, options_);
  // Cut at the marks, no piece holds the whole text of a special token that a turn spells out.
  std::vector<text::TokenId> ids;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t end = std::min(text.find(mark, from), text.size());
    const auto piece = tokenizer_.encode(text.substr(from, end - from),
                                         {.add_special = false, .parse_special = true});
    ids.insert(ids.end(), piece.begin(), piece.end());
    from = end + mark.size();
  }
  return ids;
}

}  // namespace tender::cli
