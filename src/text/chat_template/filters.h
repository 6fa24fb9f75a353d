#pragma once

#include <string_view>

#include "text/chat_template/arguments.h"
#include "text/chat_template/value.h"

namespace tender::text {

/// `input | name(arguments)`. @throws Error TPL_UNSUPPORTED for an unknown name, TPL_VALUE, the
/// limits
TemplateValue apply_filter(std::string_view name, const TemplateValue& input,
                           const TemplateArguments& arguments, TemplateBudget& budget);

/// `input is name(arguments)`. @throws as apply_filter
bool apply_test(std::string_view name, const TemplateValue& input,
                const TemplateArguments& arguments, TemplateBudget& budget);

}  // namespace tender::text
