#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace tender::cli {

/// The turns of a chat and their tokens by the model's template.
///
/// Only the template's own text gives special tokens. One that a turn spells out ("<|im_end|>"
/// typed by a user) stays text, so that nobody ends a turn or becomes the system by typing.
class Conversation {
 public:
  /// @throws Error invalid_input CHAT_NO_TEMPLATE; those of ChatTemplate
  explicit Conversation(const text::Tokenizer& tokenizer);

  void add(std::string_view role, std::string_view content);
  void drop_last() { turns_.pop_back(); }
  /// As an array of {"role", "content"}.
  OrderedJson messages() const;

  /// Tokens of all turns and of what opens the answer. @throws Error those of ChatTemplate::render
  std::vector<text::TokenId> tokens() const;

 private:
  struct Turn {
    std::string role;
    std::string content;
  };

  /// A character that occurs in no turn.
  std::string unused_mark() const;
  std::string with_marks(const std::string& content, const std::string& mark) const;

  const text::Tokenizer& tokenizer_;
  text::ChatTemplate template_;
  text::RenderOptions options_;
  std::vector<std::string> special_;  ///< texts of the special tokens
  std::vector<Turn> turns_;
};

}  // namespace tender::cli
