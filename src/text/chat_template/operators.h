#pragma once

#include <string_view>

#include "text/chat_template/value.h"

namespace tender::text {

// Operators with the meaning that Python gives them. All throw TPL_VALUE where Python has a
// TypeError.

/// `sign`: + - * / // % **
TemplateValue arithmetic(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
                         TemplateBudget& budget);
TemplateValue negated(const TemplateValue& value);

bool are_equal(const TemplateValue& a, const TemplateValue& b, TemplateBudget& budget);
bool is_less(const TemplateValue& a, const TemplateValue& b, TemplateBudget& budget);
bool contains(const TemplateValue& container, const TemplateValue& value, TemplateBudget& budget);
/// `sign`: == != < <= > >= in, not in
bool holds(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
           TemplateBudget& budget);

/// `object.name`: a method before a key, as in Jinja; undefined where there is neither.
TemplateValue attribute_of(const TemplateValue& object, std::string_view name);
/// `object[key]`: a key before a method.
TemplateValue item_of(const TemplateValue& object, const TemplateValue& key,
                      TemplateBudget& budget);
/// `object[start:stop:step]`, each an integer, or None or undefined without a name where left out.
TemplateValue slice_of(const TemplateValue& object, const TemplateValue& start,
                       const TemplateValue& stop, const TemplateValue& step,
                       TemplateBudget& budget);

}  // namespace tender::text
