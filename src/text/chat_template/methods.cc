#include "text/chat_template/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "text/chat_template/operators.h"
#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

struct Call {
  const TemplateValue& object;
  const TemplateBound& arguments;
  TemplateBudget& budget;

  const std::string& text() const { return object.as_text(); }
};

struct Method {
  Kind kind;
  std::string_view name;
  TemplateParameters parameters;
  TemplateValue (*run)(const Call& call);
};

TemplateValue new_text(std::string text, TemplateBudget& budget) {
  budget.make(text.size());
  return TemplateValue::text(std::move(text));
}

TemplateValue stripped(const Call& call, Ends ends) {
  call.budget.read(call.text().size());
  const auto characters = call.arguments.is_none(0)
                              ? std::nullopt
                              : std::optional<std::string_view>(call.arguments.text(0));
  // Every stripped character may be sought in the whole set.
  if (characters) call.budget.step(call.text().size() * characters->size() / 64);
  return new_text(std::string(strip_text(call.text(), ends, characters)), call.budget);
}

TemplateValue split(const Call& call) {
  call.budget.make(call.text().size());
  const std::int64_t limit = call.arguments.integer(1, -1);
  if (call.arguments.is_none(0))
    return text_list(split_text(call.text(), std::nullopt, limit), call.budget);
  if (call.arguments.text(0).empty()) template_value_error("split() with an empty separator");
  return text_list(split_text(call.text(), call.arguments.text(0), limit), call.budget);
}

/// Splits from the right, by splitting the mirrored text; only with a separator, as templates use
/// it.
TemplateValue split_right(const Call& call) {
  call.budget.make(call.text().size());
  std::string separator = call.arguments.text(0);
  if (separator.empty()) template_value_error("rsplit() with an empty separator");
  std::reverse(separator.begin(), separator.end());
  const std::string mirrored(call.text().rbegin(), call.text().rend());
  std::vector<std::string> parts;
  for (const std::string_view part :
       split_text(mirrored, separator, call.arguments.integer(1, -1))) {
    call.budget.step();
    parts.emplace_back(part.rbegin(), part.rend());
  }
  std::reverse(parts.begin(), parts.end());
  return text_list(parts, call.budget);
}

/// startswith and endswith: one string or a tuple of them.
template <class Matches>
TemplateValue matches_any(const Call& call, Matches&& matches) {
  const TemplateValue& sought = call.arguments.value(0);
  if (!sought.is(Kind::list)) return TemplateValue::boolean(matches(call.arguments.text(0)));
  const auto& values = sought.as_list().values;
  return TemplateValue::boolean(
      std::any_of(values.begin(), values.end(), [&](const TemplateValue& one) {
        call.budget.step();
        return one.is_text() && matches(one.as_text());
      }));
}

TemplateValue find(const Call& call) {
  const std::string_view text = call.text();
  call.budget.read(text.size());
  const std::size_t found = find_text(text, call.arguments.text(0));
  if (found == std::string_view::npos) return TemplateValue::integer(-1);
  return TemplateValue::integer(static_cast<std::int64_t>(character_count(text.substr(0, found))));
}

TemplateValue joined(const Call& call) {
  std::string out;
  bool first = true;
  for (const TemplateValue& part : elements(call.arguments.value(0), call.budget)) {
    if (!part.is_text()) template_value_error("join() over " + part.describe());
    const std::string_view between = std::exchange(first, false) ? std::string_view() : call.text();
    append_within_limits(out, between, call.budget);
    append_within_limits(out, part.as_text(), call.budget);
  }
  return TemplateValue::text(std::move(out));
}

TemplateValue text_count(const Call& call) {
  const std::string_view text = call.text();
  const std::string& sought = call.arguments.text(0);
  call.budget.make(text.size());
  if (sought.empty())
    return TemplateValue::integer(static_cast<std::int64_t>(character_count(text)) + 1);
  return TemplateValue::integer(static_cast<std::int64_t>(split_text(text, sought, -1).size()) - 1);
}

template <class Is>
TemplateValue all_characters(const Call& call, Is&& is) {
  const std::string& text = call.text();
  call.budget.read(text.size());
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at))
    if (!is(character_value(text, at))) return TemplateValue::boolean(false);
  return TemplateValue::boolean(!text.empty());
}

TemplateValue lines(const Call& call) {
  call.budget.make(call.text().size());
  return text_list(split_lines(call.text()), call.budget);
}

TemplateValue starts_with(const Call& call) {
  return matches_any(call,
                     [&](const std::string& prefix) { return call.text().starts_with(prefix); });
}

TemplateValue ends_with(const Call& call) {
  return matches_any(call,
                     [&](const std::string& suffix) { return call.text().ends_with(suffix); });
}

TemplateValue replace(const Call& call) {
  return TemplateValue::text(replaced(call.text(), call.arguments.text(0), call.arguments.text(1),
                                      call.arguments.integer(2, -1), call.budget));
}

TemplateValue without_prefix(const Call& call) {
  const std::string& prefix = call.arguments.text(0);
  if (!call.text().starts_with(prefix)) return call.object;
  return new_text(call.text().substr(prefix.size()), call.budget);
}

TemplateValue without_suffix(const Call& call) {
  const std::string& suffix = call.arguments.text(0);
  if (!call.text().ends_with(suffix)) return call.object;
  return new_text(call.text().substr(0, call.text().size() - suffix.size()), call.budget);
}

TemplateValue dict_keys(const Call& call) {
  return TemplateValue::list(elements(call.object, call.budget));
}

TemplateValue dict_values(const Call& call) {
  const auto& entries = call.object.as_dict().entries;
  call.budget.make(entries.size() * sizeof(TemplateValue));
  std::vector<TemplateValue> values;
  for (const auto& [key, value] : entries) values.push_back(value);
  return TemplateValue::list(std::move(values));
}

TemplateValue dict_get(const Call& call) {
  call.budget.step(call.object.as_dict().entries.size() / 16);
  const TemplateValue& key = call.arguments.value(0);
  const TemplateValue* found = key.is_text() ? call.object.as_dict().find(key.as_text()) : nullptr;
  if (found != nullptr) return *found;
  return call.arguments.has(1) ? call.arguments.value(1) : TemplateValue::none();
}

TemplateValue list_index(const Call& call) {
  const auto& values = call.object.as_list().values;
  const auto found = std::find_if(values.begin(), values.end(), [&](const TemplateValue& one) {
    return are_equal(one, call.arguments.value(0), call.budget);
  });
  if (found == values.end()) template_value_error("index() of a value that is not in the list");
  return TemplateValue::integer(found - values.begin());
}

TemplateValue list_count(const Call& call) {
  const auto& values = call.object.as_list().values;
  return TemplateValue::integer(
      std::count_if(values.begin(), values.end(), [&](const TemplateValue& one) {
        return are_equal(one, call.arguments.value(0), call.budget);
      }));
}

TemplateValue as_upper(const Call& c) { return new_text(upper_text(c.text()), c.budget); }
TemplateValue as_lower(const Call& c) { return new_text(lower_text(c.text()), c.budget); }

constexpr auto kText = Kind::text;
constexpr Method kMethods[] = {
    {kText, "strip", {"chars"}, [](const Call& c) { return stripped(c, Ends::both); }},
    {kText, "lstrip", {"chars"}, [](const Call& c) { return stripped(c, Ends::left); }},
    {kText, "rstrip", {"chars"}, [](const Call& c) { return stripped(c, Ends::right); }},
    {kText, "split", {"sep", "maxsplit"}, split},
    {kText, "rsplit", {"sep", "maxsplit"}, split_right},
    {kText, "splitlines", {}, lines},
    {kText, "startswith", {"prefix"}, starts_with},
    {kText, "endswith", {"suffix"}, ends_with},
    {kText, "upper", {}, as_upper},
    {kText, "lower", {}, as_lower},
    {kText, "casefold", {}, as_lower},
    {kText, "title", {}, [](const Call& c) { return new_text(title_text(c.text()), c.budget); }},
    {kText,
     "capitalize",
     {},
     [](const Call& c) { return new_text(capitalize_text(c.text()), c.budget); }},
    {kText, "replace", {"old", "new", "count"}, replace},
    {kText, "join", {"iterable"}, joined},
    {kText, "find", {"sub"}, find},
    {kText, "count", {"sub"}, text_count},
    {kText, "isdigit", {}, [](const Call& c) { return all_characters(c, is_decimal); }},
    {kText, "isalpha", {}, [](const Call& c) { return all_characters(c, is_letter); }},
    {kText, "isspace", {}, [](const Call& c) { return all_characters(c, is_white); }},
    {kText,
     "isupper",
     {},
     [](const Call& c) { return TemplateValue::boolean(all_upper(c.text())); }},
    {kText,
     "islower",
     {},
     [](const Call& c) { return TemplateValue::boolean(all_lower(c.text())); }},
    {kText, "removeprefix", {"prefix"}, without_prefix},
    {kText, "removesuffix", {"suffix"}, without_suffix},
    {Kind::dict,
     "items",
     {},
     [](const Call& c) { return dict_items(c.object.as_dict(), c.budget); }},
    {Kind::dict, "keys", {}, dict_keys},
    {Kind::dict, "values", {}, dict_values},
    {Kind::dict, "get", {"key", "default"}, dict_get},
    {Kind::list, "index", {"value"}, list_index},
    {Kind::list, "count", {"value"}, list_count},
};

struct Changing {
  Kind kind;
  std::string_view name;
};
constexpr Changing kChanging[] = {
    {Kind::list, "append"},  {Kind::list, "extend"},  {Kind::list, "insert"},
    {Kind::list, "pop"},     {Kind::list, "remove"},  {Kind::list, "clear"},
    {Kind::list, "reverse"}, {Kind::list, "sort"},    {Kind::dict, "update"},
    {Kind::dict, "pop"},     {Kind::dict, "popitem"}, {Kind::dict, "setdefault"},
    {Kind::dict, "clear"},
};
/// Methods of a loop take any number of arguments.
constexpr std::string_view kLoopMethods[] = {"cycle", "changed"};

TemplateValue call_loop(TemplateLoop& loop, std::string_view name,
                        const TemplateArguments& arguments, TemplateBudget& budget) {
  const std::vector<TemplateValue>& given = arguments.positional;
  if (name == "cycle") {
    if (given.empty()) template_value_error("loop.cycle() without values");
    return given[loop.index % given.size()];
  }
  const bool same =
      loop.changed.size() == given.size() + 1 &&
      std::equal(given.begin(), given.end(), loop.changed.begin() + 1,
                 [&](const auto& a, const auto& b) { return are_equal(a, b, budget); });
  loop.changed.assign(
      1, TemplateValue());  // one element more than given: even no values count as seen
  loop.changed.insert(loop.changed.end(), given.begin(), given.end());
  return TemplateValue::boolean(!same);
}

}  // namespace

std::string_view method_name(const TemplateValue& object, std::string_view name) {
  for (const Method& method : kMethods)
    if (object.is(method.kind) && method.name == name) return method.name;
  for (const Changing& method : kChanging)
    if (object.is(method.kind) && method.name == name) return method.name;
  if (object.is(Kind::loop))
    for (const std::string_view method : kLoopMethods)
      if (method == name) return method;
  return {};
}

TemplateValue call_method(const TemplateValue& object, std::string_view name,
                          const TemplateArguments& arguments, TemplateBudget& budget) {
  for (const Changing& method : kChanging)
    if (object.is(method.kind) && method.name == name)
      fail(ErrorKind::invalid_input,
           {.code = "TPL_FORBIDDEN",
            .item = std::string(name),
            .hint = "templates build new values instead, or use a namespace"},
           "the template calls {}, which would change {}", quote(name), object.describe());
  if (object.is(Kind::loop)) return call_loop(object.as_loop(), name, arguments, budget);
  const auto method =
      std::find_if(std::begin(kMethods), std::end(kMethods),
                   [&](const Method& one) { return object.is(one.kind) && one.name == name; });
  const TemplateBound bound(fmt::format("{}()", name), method->parameters, arguments);
  return method->run({object, bound, budget});
}

std::string replaced(std::string_view text, std::string_view old, std::string_view replacement,
                     std::int64_t count, TemplateBudget& budget) {
  std::string out;
  const auto put = [&](std::string_view part) { append_within_limits(out, part, budget); };
  budget.make(text.size());
  std::size_t from = 0;
  for (; count != 0; --count) {
    // An empty text is found before every character and at the end.
    const std::size_t found = old.empty() ? from : find_text(text, old, from);
    if (found == std::string_view::npos) break;
    put(text.substr(from, found - from));
    put(replacement);
    from = found + old.size();
    if (!old.empty()) continue;
    if (from >= text.size()) return out;
    const std::size_t bytes = character_bytes(text, from);
    put(text.substr(from, bytes));
    from += bytes;
  }
  put(text.substr(from));
  return out;
}

TemplateValue dict_items(const TemplateDict& dict, TemplateBudget& budget) {
  budget.make(dict.entries.size() * 3 * sizeof(TemplateValue));
  std::vector<TemplateValue> items;
  for (const auto& [key, value] : dict.entries) {
    budget.read(key.size());
    items.push_back(TemplateValue::list({TemplateValue::text(key), value}, true));
  }
  return TemplateValue::list(std::move(items));
}

}  // namespace tender::text
