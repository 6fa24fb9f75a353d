#pragma once

#include <string_view>

#include "text/chat_template/ast.h"

namespace tender::text {

/// @throws Error TPL_SYNTAX; TPL_UNSUPPORTED for statements outside the subset; TPL_FORBIDDEN for
/// include, import, extends and attributes of the host language; TPL_STEPS for a source that nests
/// deeper than kTemplateSourceDepth
TemplateBody parse_template(std::string_view source);

}  // namespace tender::text
