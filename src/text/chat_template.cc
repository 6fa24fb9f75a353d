#include "text/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/chat_template/interpreter.h"
#include "text/chat_template/json.h"
#include "text/chat_template/parser.h"

namespace tender::text {
namespace {

[[noreturn]] void fail_in(const std::string& file, const Error& error) {
  ErrorDetails details = error.details();
  details.file = file;
  throw Error(error.kind(), std::move(details), error.sentence());
}

std::tm local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return local;
}

}  // namespace

struct ChatTemplate::Compiled {
  TemplateBody body;
  std::string file;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string file) try
    : compiled_(std::make_unique<const Compiled>(Compiled{parse_template(source), file})) {
} catch (const Error& error) {
  fail_in(file, error);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&& other) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&& other) noexcept = default;

std::string ChatTemplate::render(const OrderedJson& messages, const RenderOptions& options) const
    try {
  std::vector<std::pair<std::string, TemplateValue>> variables;
  const auto add = [&](const char* name, TemplateValue value) {
    variables.emplace_back(name, std::move(value));
  };
  add("messages", template_value_of(messages));
  add("add_generation_prompt", TemplateValue::boolean(options.add_generation_prompt));
  // Defined, though nothing, as transformers has it: templates ask "tools is none".
  add("tools", TemplateValue::none());
  add("documents", TemplateValue::none());
  if (options.bos_token) add("bos_token", TemplateValue::text(*options.bos_token));
  if (options.eos_token) add("eos_token", TemplateValue::text(*options.eos_token));
  if (options.extra != nullptr)
    for (const auto& [name, value] : options.extra->items())
      variables.emplace_back(name, template_value_of(value));
  return run_template(compiled_->body, std::move(variables),
                      options.now ? *options.now : local_now());
} catch (const Error& error) {
  fail_in(compiled_->file, error);
}

}  // namespace tender::text
