#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template/ast.h"

namespace tender::text {

/// Runs a template. @param variables  what it finds by name   @param now  for strftime_now()
/// @throws Error TPL_VALUE, TPL_RAISED, TPL_STEPS, TPL_OUTPUT, TPL_UNSUPPORTED, TPL_FORBIDDEN, each
/// with the line of the template at which it happened
std::string run_template(const TemplateBody& body,
                         std::vector<std::pair<std::string, TemplateValue>> variables,
                         const std::tm& now);

}  // namespace tender::text
