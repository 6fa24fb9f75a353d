#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace tender::text {

struct RenderOptions {
  bool add_generation_prompt = true;  ///< end with what opens the answer of the assistant
  std::optional<std::string>
      bos_token{};  ///< text of the token; undefined in the template if absent
  std::optional<std::string> eos_token{};
  const OrderedJson* extra = nullptr;  ///< an object: further variables, such as "tools"
  std::optional<std::tm> now{};        ///< for strftime_now(); the local time if absent
};

/// A chat template: how a model wants a conversation written as text.
///
/// Runs a subset of Jinja in an interpreter of our own, with the white-space rules, filters and
/// functions that Hugging Face's transformers gives to templates, and the same output. The subset:
/// if, for (with condition and else), set, namespaces, macro, with, filter, raw, break, continue,
/// generation; every operator and literal; filters, tests and methods as listed in
/// chat_template/{filters,tests,methods}.cc.
///
/// Templates come from files that nobody vouches for. They see nothing but their variables, and one
/// rendering is limited to 10^6 steps (64 bytes of text count as one) and to 4 MiB in its output
/// and in every string or list, so it ends within a second.
///
/// Text is UTF-8; a byte that is not counts as a character of its own. Upper and lower case are
/// Unicode's one-to-one mappings. Integers have 64 bits. What are generators and views in Python
/// are lists here.
class ChatTemplate {
 public:
  /// @param file  where it comes from, for messages
  /// @throws Error TPL_SYNTAX; TPL_UNSUPPORTED (a statement); TPL_FORBIDDEN (include, import,
  /// extends, an attribute of the host language); TPL_STEPS (nesting)
  explicit ChatTemplate(std::string_view source, std::string file = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&& other) noexcept;
  ChatTemplate& operator=(ChatTemplate&& other) noexcept;

  /// The text of a conversation.
  ///
  /// @param messages  an array of {"role", "content", …}
  /// @throws Error TPL_RAISED (raise_exception, with its message), TPL_VALUE (an operation without
  /// meaning, such as an attribute of something undefined), TPL_STEPS, TPL_OUTPUT, TPL_UNSUPPORTED
  /// (a filter, test, function or method), TPL_FORBIDDEN
  std::string render(const OrderedJson& messages, const RenderOptions& options = {}) const;

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace tender::text
