#include "text/chat_template/arguments.h"

#include <fmt/format.h>

#include <algorithm>

namespace tender::text {

TemplateBound::TemplateBound(std::string_view what, const TemplateParameters& parameters,
                             const TemplateArguments& arguments)
    : what_(what), parameters_(parameters) {
  const auto count = static_cast<std::size_t>(
      std::find(parameters.begin(), parameters.end(), std::string_view()) - parameters.begin());
  if (arguments.positional.size() > count)
    template_value_error(fmt::format("{} takes at most {} arguments, not {}", what, count,
                                     arguments.positional.size()));
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    given_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters.begin(),
                                 parameters.begin() + static_cast<std::ptrdiff_t>(count), name);
    const auto place = static_cast<std::size_t>(found - parameters.begin());
    if (place == count)
      template_value_error(fmt::format("{} has no parameter {}", what, quote(name)));
    if (given_[place] != nullptr)
      template_value_error(fmt::format("{} has two values for {}", what, quote(name)));
    given_[place] = &value;
  }
}

const TemplateValue& TemplateBound::value(std::size_t i) const {
  static const TemplateValue absent;
  return given_[i] == nullptr ? absent : *given_[i];
}

const std::string& TemplateBound::text(std::size_t i) const {
  if (!value(i).is_text())
    template_value_error(
        fmt::format("{} needs a string as {}, not {}", what_, parameters_[i], value(i).describe()));
  return value(i).as_text();
}

std::int64_t TemplateBound::integer(std::size_t i, std::int64_t fallback) const {
  if (is_none(i)) return fallback;
  if (!value(i).is_integral())
    template_value_error(fmt::format("{} needs an integer as {}, not {}", what_, parameters_[i],
                                     value(i).describe()));
  return value(i).as_integer();
}

}  // namespace tender::text
