#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "text/chat_template/filters.h"
#include "text/chat_template/operators.h"
#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

struct Call {
  const TemplateValue& input;
  const TemplateBound& arguments;
  TemplateBudget& budget;
};

struct Test {
  std::string_view name;
  TemplateParameters parameters;
  bool (*run)(const Call& call);
};

bool is_iterable(const Call& c) {
  return c.input.is_text() || c.input.is(Kind::list) || c.input.is(Kind::dict) ||
         c.input.is(Kind::undefined) || c.input.is(Kind::loop);
}

bool is_sequence(const Call& c) { return is_iterable(c) && !c.input.is(Kind::loop); }

bool is_boolean(const Call& c, bool value) {
  return c.input.is(Kind::boolean) && c.input.as_boolean() == value;
}

/// Remainder by `divisor`, in Python's sense.
std::int64_t remainder(const Call& c, const TemplateValue& divisor) {
  const TemplateValue rest = arithmetic("%", c.input, divisor, c.budget);
  return rest.is_integral() ? rest.as_integer() : rest.as_real() == 0 ? 0 : 2;
}

bool equals(const Call& c) { return are_equal(c.input, c.arguments.value(0), c.budget); }
bool differs(const Call& c) { return !equals(c); }
bool less(const Call& c) { return holds("<", c.input, c.arguments.value(0), c.budget); }
bool at_most(const Call& c) { return holds("<=", c.input, c.arguments.value(0), c.budget); }
bool greater(const Call& c) { return holds(">", c.input, c.arguments.value(0), c.budget); }
bool at_least(const Call& c) { return holds(">=", c.input, c.arguments.value(0), c.budget); }

constexpr Test kTests[] = {
    {"defined", {}, [](const Call& c) { return !c.input.is(Kind::undefined); }},
    {"undefined", {}, [](const Call& c) { return c.input.is(Kind::undefined); }},
    {"none", {}, [](const Call& c) { return c.input.is(Kind::none); }},
    {"boolean", {}, [](const Call& c) { return c.input.is(Kind::boolean); }},
    {"true", {}, [](const Call& c) { return is_boolean(c, true); }},
    {"false", {}, [](const Call& c) { return is_boolean(c, false); }},
    {"string", {}, [](const Call& c) { return c.input.is_text(); }},
    {"number", {}, [](const Call& c) { return c.input.is_number(); }},
    {"integer", {}, [](const Call& c) { return c.input.is(Kind::integer); }},
    {"float", {}, [](const Call& c) { return c.input.is(Kind::real); }},
    {"mapping", {}, [](const Call& c) { return c.input.is(Kind::dict); }},
    {"iterable", {}, is_iterable},
    {"sequence", {}, is_sequence},
    {"callable",
     {},
     [](const Call& c) { return c.input.is(Kind::function) || c.input.is(Kind::macro); }},
    {"odd", {}, [](const Call& c) { return remainder(c, TemplateValue::integer(2)) == 1; }},
    {"even", {}, [](const Call& c) { return remainder(c, TemplateValue::integer(2)) == 0; }},
    {"divisibleby", {"num"}, [](const Call& c) { return remainder(c, c.arguments.value(0)) == 0; }},
    {"upper", {}, [](const Call& c) { return all_upper(to_text(c.input, c.budget)); }},
    {"lower", {}, [](const Call& c) { return all_lower(to_text(c.input, c.budget)); }},
    {"in",
     {"seq"},
     [](const Call& c) { return contains(c.arguments.value(0), c.input, c.budget); }},
    {"==", {"b"}, equals},
    {"eq", {"b"}, equals},
    {"equalto", {"b"}, equals},
    {"!=", {"b"}, differs},
    {"ne", {"b"}, differs},
    {"<", {"b"}, less},
    {"lt", {"b"}, less},
    {"lessthan", {"b"}, less},
    {"<=", {"b"}, at_most},
    {"le", {"b"}, at_most},
    {">", {"b"}, greater},
    {"gt", {"b"}, greater},
    {"greaterthan", {"b"}, greater},
    {">=", {"b"}, at_least},
    {"ge", {"b"}, at_least},
};

}  // namespace

bool apply_test(std::string_view name, const TemplateValue& input,
                const TemplateArguments& arguments, TemplateBudget& budget) {
  const auto test = std::find_if(std::begin(kTests), std::end(kTests),
                                 [&](const Test& one) { return one.name == name; });
  if (test == std::end(kTests)) template_unsupported("the test", name);
  const TemplateBound bound(fmt::format("the test '{}'", name), test->parameters, arguments);
  if (!test->parameters[0].empty() && !bound.has(0))
    template_value_error(fmt::format("the test '{}' lacks its argument", name));
  budget.step();
  return test->run({input, bound, budget});
}

}  // namespace tender::text
