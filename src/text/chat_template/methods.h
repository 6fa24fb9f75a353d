#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/chat_template/arguments.h"
#include "text/chat_template/value.h"

namespace tender::text {

/// The name of the method, as long as the program lives, or empty if values of this kind have none
/// of that name. Methods that change their object count: calling them is forbidden, not unknown.
std::string_view method_name(const TemplateValue& object, std::string_view name);

/// `object.name(arguments)` for a name that method_name() knows.
/// @throws Error TPL_VALUE, TPL_FORBIDDEN for methods that change their object, as in Hugging
/// Face's sandbox, TPL_OUTPUT, TPL_STEPS
TemplateValue call_method(const TemplateValue& object, std::string_view name,
                          const TemplateArguments& arguments, TemplateBudget& budget);

/// As str.replace(old, replacement, count); all where count is negative.
std::string replaced(std::string_view text, std::string_view old, std::string_view replacement,
                     std::int64_t count, TemplateBudget& budget);

/// A list of texts.
template <class Parts>
TemplateValue text_list(const Parts& parts, TemplateBudget& budget) {
  budget.make(parts.size() * sizeof(TemplateValue));
  std::vector<TemplateValue> values;
  values.reserve(parts.size());
  for (const std::string_view part : parts) {
    budget.step();
    budget.read(part.size());
    values.push_back(TemplateValue::text(std::string(part)));
  }
  return TemplateValue::list(std::move(values));
}

/// The (key, value) pairs of a dictionary.
TemplateValue dict_items(const TemplateDict& dict, TemplateBudget& budget);

}  // namespace tender::text
