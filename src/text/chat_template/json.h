#pragma once

#include <string>

#include "base/json.h"
#include "text/chat_template/value.h"

namespace tender::text {

/// The value of a JSON text. Integers beyond 64 bits become floats.
TemplateValue template_value_of(const OrderedJson& json);

struct TemplateJsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool multiline = false;   ///< one element a line
  std::string indentation;  ///< of each level, when multiline
};

/// As Python's json.dumps in that style. @throws Error TPL_VALUE for what JSON cannot hold
std::string template_json(const TemplateValue& value, const TemplateJsonStyle& style,
                          TemplateBudget& budget);

}  // namespace tender::text
