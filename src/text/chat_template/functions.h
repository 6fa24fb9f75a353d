#pragma once

#include <ctime>
#include <string>

#include "text/chat_template/arguments.h"
#include "text/chat_template/value.h"

namespace tender::text {

// The functions that templates may call. All throw TPL_VALUE for arguments without meaning.

/// range(stop), range(start, stop[, step]) as a list. @throws Error TPL_STEPS past kTemplateRange
TemplateValue range_of(const TemplateArguments& given, TemplateBudget& budget);

/// A key that comes again keeps its place and gets the new value, as in Python.
void put_entry(TemplateValue::Entries& entries, std::string key, TemplateValue value,
               TemplateBudget& budget);

/// What dict() and namespace() take: named values, after a dictionary of such if one is given.
TemplateValue::Entries named_entries(TemplateArguments given, TemplateBudget& budget);

/// raise_exception(message). @throws Error TPL_RAISED with the message
[[noreturn]] void raise_exception(const TemplateArguments& given, TemplateBudget& budget);

/// strftime_now(format) as the C library writes it, in the locale "C".
TemplateValue time_text(const TemplateArguments& given, const std::tm& now);

}  // namespace tender::text
