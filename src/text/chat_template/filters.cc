#include "text/chat_template/filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "text/chat_template/json.h"
#include "text/chat_template/methods.h"
#include "text/chat_template/operators.h"
#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;
using Values = std::vector<TemplateValue>;

struct Call {
  const TemplateValue& input;
  const TemplateBound& arguments;
  TemplateBudget& budget;

  /// The input as a string, as Jinja's filters on strings take it.
  std::string text() const { return to_text(input, budget); }
  Values values() const { return elements(input, budget); }
};

struct Filter {
  std::string_view name;
  TemplateParameters parameters;
  TemplateValue (*run)(const Call& call);
};

TemplateValue new_text(std::string text, TemplateBudget& budget) {
  budget.make(text.size());
  return TemplateValue::text(std::move(text));
}

/// `value.a.b`, `value[0]`: the way of map, sort, unique, sum and selectattr to an attribute.
TemplateValue at_path(TemplateValue value, const TemplateValue& path, TemplateBudget& budget) {
  if (!path.is_text()) return item_of(value, path, budget);
  for (const std::string_view part : split_text(path.as_text(), ".", -1)) {
    budget.step();
    std::int64_t index = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = read.ec == std::errc() && read.ptr == part.data() + part.size();
    value = item_of(value,
                    number ? TemplateValue::integer(index) : TemplateValue::text(std::string(part)),
                    budget);
  }
  return value;
}

TemplateValue trim(const Call& c) {
  const auto set =
      c.arguments.is_none(0) ? std::nullopt : std::optional<std::string_view>(c.arguments.text(0));
  const std::string text = c.text();
  if (set) c.budget.step(text.size() * set->size() / 64);
  return new_text(std::string(strip_text(text, Ends::both, set)), c.budget);
}

TemplateValue length(const Call& c) {
  const auto of = [](std::size_t count) {
    return TemplateValue::integer(static_cast<std::int64_t>(count));
  };
  switch (c.input.kind()) {
    case Kind::undefined:
      return of(0);
    case Kind::text:
      c.budget.read(c.input.as_text().size());
      return of(character_count(c.input.as_text()));
    case Kind::list:
      return of(c.input.as_list().values.size());
    case Kind::dict:
      return of(c.input.as_dict().entries.size());
    default:
      template_value_error(c.input.describe() + " has no length");
  }
}

/// Jinja's title, unlike Python's: words end at white space, hyphens and opening brackets only.
TemplateValue title(const Call& c) {
  const std::string text = c.text();
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = character_bytes(text, at);
    const std::string_view character = std::string_view(text).substr(at, bytes);
    const bool between = is_white(character_value(text, at)) ||
                         std::string_view("-({[<").find(character) != std::string_view::npos;
    out += inside ? lower_text(character) : upper_text(character);
    inside = !between;
    at += bytes;
  }
  return new_text(std::move(out), c.budget);
}

TemplateValue replace(const Call& c) {
  return TemplateValue::text(replaced(c.text(), to_text(c.arguments.value(0), c.budget),
                                      to_text(c.arguments.value(1), c.budget),
                                      c.arguments.integer(2, -1), c.budget));
}

TemplateValue join(const Call& c) {
  const std::string between = to_text(c.arguments.value(0), c.budget);
  std::string out;
  bool first = true;
  for (const TemplateValue& value : c.values()) {
    if (!std::exchange(first, false)) append_within_limits(out, between, c.budget);
    const TemplateValue& part =
        c.arguments.has(1) ? at_path(value, c.arguments.value(1), c.budget) : value;
    append_within_limits(out, to_text(part, c.budget), c.budget);
  }
  return TemplateValue::text(std::move(out));
}

TemplateValue or_default(const Call& c) {
  const bool absent = c.arguments.flag(1, false) ? !is_true(c.input) : c.input.is(Kind::undefined);
  if (!absent) return c.input;
  return c.arguments.has(0) ? c.arguments.value(0) : TemplateValue::text("");
}

TemplateValue first(const Call& c) {
  const Values values = c.values();
  return values.empty() ? TemplateValue::undefined("the first element of an empty sequence")
                        : values.front();
}

TemplateValue last(const Call& c) {
  const Values values = c.values();
  return values.empty() ? TemplateValue::undefined("the last element of an empty sequence")
                        : values.back();
}

/// The whole of `text` as a number, white space around it aside.
template <class Number>
std::optional<Number> parsed(std::string_view text) {
  text = strip_text(text, Ends::both);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value{};
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

TemplateValue to_integer(const Call& c) {
  if (c.arguments.integer(1, 10) != 10) template_unsupported("the filter", "int with another base");
  const auto truncated = [](double value) -> std::optional<TemplateValue> {
    if (!(std::abs(value) < 0x1p63)) return std::nullopt;
    return TemplateValue::integer(static_cast<std::int64_t>(value));
  };
  std::optional<TemplateValue> value;
  if (c.input.is_integral()) return TemplateValue::integer(c.input.as_integer());
  if (c.input.is(Kind::real)) value = truncated(c.input.as_real());
  if (c.input.is_text()) {
    const auto integer = parsed<std::int64_t>(c.input.as_text());
    if (integer) return TemplateValue::integer(*integer);
    const auto real = parsed<double>(c.input.as_text());
    if (real) value = truncated(*real);
  }
  if (value) return *value;
  return c.arguments.has(0) ? c.arguments.value(0) : TemplateValue::integer(0);
}

TemplateValue to_real(const Call& c) {
  if (c.input.is_number()) return TemplateValue::real(c.input.as_real());
  const auto value = c.input.is_text() ? parsed<double>(c.input.as_text()) : std::nullopt;
  if (value) return TemplateValue::real(*value);
  return c.arguments.has(0) ? c.arguments.value(0) : TemplateValue::real(0);
}

TemplateValue as_json(const Call& c) {
  TemplateJsonStyle style;
  style.ensure_ascii = c.arguments.flag(0, false);
  style.sort_keys = c.arguments.flag(3, false);
  if (!c.arguments.is_none(1)) {
    style.multiline = true;
    style.item_separator = ",";
    const bool text = c.arguments.value(1).is_text();
    const std::int64_t spaces =
        text ? 0 : std::clamp<std::int64_t>(c.arguments.integer(1, 0), 0, 1000);
    style.indentation =
        text ? c.arguments.text(1) : std::string(static_cast<std::size_t>(spaces), ' ');
  }
  if (!c.arguments.is_none(2)) {
    const Values separators = elements(c.arguments.value(2), c.budget);
    if (separators.size() != 2) template_value_error("tojson needs two separators");
    style.item_separator = to_text(separators[0], c.budget);
    style.key_separator = to_text(separators[1], c.budget);
  }
  return TemplateValue::text(template_json(c.input, style, c.budget));
}

TemplateValue items(const Call& c) {
  if (c.input.is(Kind::undefined)) return TemplateValue::list({});
  if (!c.input.is(Kind::dict)) template_value_error(c.input.describe() + " has no items");
  return dict_items(c.input.as_dict(), c.budget);
}

/// The key to sort or compare by: the attribute if one is named, in lower case if case does not
/// count.
TemplateValue sort_key(const TemplateValue& value, const TemplateValue* attribute, bool with_case,
                       TemplateBudget& budget) {
  TemplateValue key = attribute == nullptr ? value : at_path(value, *attribute, budget);
  if (with_case || !key.is_text()) return key;
  return new_text(lower_text(key.as_text()), budget);
}

TemplateValue sorted(Values values, const std::vector<TemplateValue>& keys, bool reverse,
                     TemplateBudget& budget) {
  std::vector<std::size_t> order(values.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return reverse ? is_less(keys[b], keys[a], budget) : is_less(keys[a], keys[b], budget);
  });
  Values out;
  for (const std::size_t i : order) out.push_back(values[i]);
  return TemplateValue::list(std::move(out));
}

TemplateValue sort(const Call& c) {
  const TemplateValue* attribute = c.arguments.is_none(2) ? nullptr : &c.arguments.value(2);
  Values keys;
  Values values = c.values();
  for (const TemplateValue& value : values)
    keys.push_back(sort_key(value, attribute, c.arguments.flag(1, false), c.budget));
  return sorted(std::move(values), keys, c.arguments.flag(0, false), c.budget);
}

TemplateValue sort_dict(const Call& c) {
  const bool by_value = c.arguments.has(1) && c.arguments.text(1) == "value";
  Values keys;
  Values pairs = elements(items(c), c.budget);
  for (const TemplateValue& pair : pairs)
    keys.push_back(sort_key(pair.as_list().values[by_value ? 1 : 0], nullptr,
                            c.arguments.flag(0, false), c.budget));
  return sorted(std::move(pairs), keys, c.arguments.flag(2, false), c.budget);
}

TemplateValue unique(const Call& c) {
  const TemplateValue* attribute = c.arguments.is_none(1) ? nullptr : &c.arguments.value(1);
  Values keys;
  Values out;
  for (const TemplateValue& value : c.values()) {
    TemplateValue key = sort_key(value, attribute, c.arguments.flag(0, false), c.budget);
    const bool seen = std::any_of(keys.begin(), keys.end(),
                                  [&](const auto& k) { return are_equal(k, key, c.budget); });
    if (seen) continue;
    keys.push_back(std::move(key));
    out.push_back(value);
  }
  return TemplateValue::list(std::move(out));
}

TemplateValue reverse(const Call& c) {
  Values values = c.values();
  std::reverse(values.begin(), values.end());
  if (!c.input.is_text()) return TemplateValue::list(std::move(values));
  std::string text;
  for (const TemplateValue& value : values) text += value.as_text();
  return TemplateValue::text(std::move(text));
}

TemplateValue extreme(const Call& c, bool greatest) {
  const TemplateValue* attribute = c.arguments.is_none(1) ? nullptr : &c.arguments.value(1);
  const auto key = [&](const TemplateValue& v) {
    return sort_key(v, attribute, c.arguments.flag(0, false), c.budget);
  };
  const Values values = c.values();
  if (values.empty()) return TemplateValue::undefined("the extreme of an empty sequence");
  const TemplateValue* best = &values.front();
  for (const TemplateValue& value : values)
    if (greatest ? is_less(key(*best), key(value), c.budget)
                 : is_less(key(value), key(*best), c.budget))
      best = &value;
  return *best;
}

TemplateValue sum(const Call& c) {
  TemplateValue total = c.arguments.has(1) ? c.arguments.value(1) : TemplateValue::integer(0);
  for (const TemplateValue& value : c.values())
    total = arithmetic(
        "+", total, c.arguments.is_none(0) ? value : at_path(value, c.arguments.value(0), c.budget),
        c.budget);
  return total;
}

TemplateValue absolute(const Call& c) {
  return is_less(c.input, TemplateValue::integer(0), c.budget) ? negated(c.input) : c.input;
}

TemplateValue indent(const Call& c) {
  const TemplateValue& width = c.arguments.value(0);
  const std::int64_t spaces =
      width.is_text() ? 0 : std::clamp<std::int64_t>(c.arguments.integer(0, 4), 0, 1000);
  const std::string by =
      width.is_text() ? width.as_text() : std::string(static_cast<std::size_t>(spaces), ' ');
  const std::string text = c.text() + "\n";  // so that an empty last line counts
  std::string out;
  bool first_line = true;
  for (const std::string_view line : split_lines(text)) {
    if (!first_line) append_within_limits(out, "\n", c.budget);
    const bool wanted =
        first_line ? c.arguments.flag(1, false) : !line.empty() || c.arguments.flag(2, false);
    if (wanted) append_within_limits(out, by, c.budget);
    append_within_limits(out, line, c.budget);
    first_line = false;
  }
  return TemplateValue::text(std::move(out));
}

constexpr Filter kFilters[] = {
    {"trim", {"chars"}, trim},
    {"length", {}, length},
    {"count", {}, length},
    {"upper", {}, [](const Call& c) { return new_text(upper_text(c.text()), c.budget); }},
    {"lower", {}, [](const Call& c) { return new_text(lower_text(c.text()), c.budget); }},
    {"capitalize", {}, [](const Call& c) { return new_text(capitalize_text(c.text()), c.budget); }},
    {"title", {}, title},
    {"replace", {"old", "new", "count"}, replace},
    {"join", {"d", "attribute"}, join},
    {"default", {"default_value", "boolean"}, or_default},
    {"d", {"default_value", "boolean"}, or_default},
    {"first", {}, first},
    {"last", {}, last},
    {"list", {}, [](const Call& c) { return TemplateValue::list(c.values()); }},
    {"string", {}, [](const Call& c) { return new_text(c.text(), c.budget); }},
    {"safe", {}, [](const Call& c) { return new_text(c.text(), c.budget); }},
    {"int", {"default", "base"}, to_integer},
    {"float", {"default"}, to_real},
    {"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, as_json},
    {"items", {}, items},
    {"dictsort", {"case_sensitive", "by", "reverse"}, sort_dict},
    {"sort", {"reverse", "case_sensitive", "attribute"}, sort},
    {"unique", {"case_sensitive", "attribute"}, unique},
    {"reverse", {}, reverse},
    {"min", {"case_sensitive", "attribute"}, [](const Call& c) { return extreme(c, false); }},
    {"max", {"case_sensitive", "attribute"}, [](const Call& c) { return extreme(c, true); }},
    {"sum", {"attribute", "start"}, sum},
    {"abs", {}, absolute},
    {"indent", {"width", "first", "blank"}, indent},
};

/// select, reject, selectattr, rejectattr: elements for which a test holds, or does not.
TemplateValue selected(const TemplateValue& input, const TemplateArguments& arguments,
                       bool by_attribute, bool wanted, TemplateBudget& budget) {
  TemplateArguments rest = arguments;
  const auto take_front = [&] {
    TemplateValue front = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return front;
  };
  if (by_attribute && rest.positional.empty())
    template_value_error("selectattr without an attribute");
  const TemplateValue attribute = by_attribute ? take_front() : TemplateValue();
  const bool tested = !rest.positional.empty();
  const TemplateValue test = tested ? take_front() : TemplateValue();
  if (tested && !test.is_text()) template_value_error("a test is named by " + test.describe());
  Values out;
  for (const TemplateValue& value : elements(input, budget)) {
    budget.step();
    const TemplateValue subject = by_attribute ? at_path(value, attribute, budget) : value;
    if ((tested ? apply_test(test.as_text(), subject, rest, budget) : is_true(subject)) == wanted)
      out.push_back(value);
  }
  return TemplateValue::list(std::move(out));
}

/// map: an attribute of every element, or a filter over every element.
TemplateValue mapped(const TemplateValue& input, const TemplateArguments& arguments,
                     TemplateBudget& budget) {
  Values out;
  if (arguments.positional.empty()) {
    const TemplateBound bound("map", {"attribute", "default"}, arguments);
    if (!bound.has(0)) template_value_error("map without an attribute or a filter");
    for (const TemplateValue& value : elements(input, budget)) {
      budget.step();
      TemplateValue found = at_path(value, bound.value(0), budget);
      out.push_back(found.is(Kind::undefined) && bound.has(1) ? bound.value(1) : std::move(found));
    }
    return TemplateValue::list(std::move(out));
  }
  TemplateArguments rest = arguments;
  if (!rest.positional.front().is_text())
    template_value_error("a filter is named by " + rest.positional.front().describe());
  const std::string name = rest.positional.front().as_text();
  rest.positional.erase(rest.positional.begin());
  if (name == "map")
    template_unsupported("map with the filter", name);  // it would recurse without end
  for (const TemplateValue& value : elements(input, budget))
    out.push_back(apply_filter(name, value, rest, budget));
  return TemplateValue::list(std::move(out));
}

}  // namespace

TemplateValue apply_filter(std::string_view name, const TemplateValue& input,
                           const TemplateArguments& arguments, TemplateBudget& budget) {
  budget.step(1 + arguments.positional.size());
  if (name == "map") return mapped(input, arguments, budget);
  if (name == "select" || name == "reject")
    return selected(input, arguments, false, name == "select", budget);
  if (name == "selectattr" || name == "rejectattr")
    return selected(input, arguments, true, name == "selectattr", budget);
  if (name == "attr")
    fail(ErrorKind::invalid_input,
         {.code = "TPL_FORBIDDEN",
          .item = "attr",
          .hint = "do not trust this template: it probes attributes"},
         "the template uses the filter 'attr'");
  const auto filter = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const Filter& one) { return one.name == name; });
  if (filter == std::end(kFilters)) template_unsupported("the filter", name);
  const TemplateBound bound(fmt::format("the filter '{}'", name), filter->parameters, arguments);
  return filter->run({input, bound, budget});
}

}  // namespace tender::text
