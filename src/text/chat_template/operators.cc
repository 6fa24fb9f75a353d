#include "text/chat_template/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include "text/chat_template/methods.h"
#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

[[noreturn]] void no_meaning(std::string_view sign, const TemplateValue& a,
                             const TemplateValue& b) {
  template_value_error(
      fmt::format("'{}' has no meaning for {} and {}", sign, a.describe(), b.describe()));
}

[[noreturn]] void out_of_range() { template_value_error("an integer leaves the range of 64 bits"); }

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  if (a == INT64_MIN && b == -1) out_of_range();
  return a / b - static_cast<std::int64_t>(a % b != 0 && (a < 0) != (b < 0));
}

std::int64_t floor_remainder(std::int64_t a, std::int64_t b) {
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/// Quotient and remainder as in CPython: the remainder has the sign of the divisor.
std::pair<double, double> floor_divide(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b, quotient -= 1;
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1;
  return {whole, rest};
}

/// By multiplication alone, so that no library decides the last digit.
TemplateValue power(const TemplateValue& base, const TemplateValue& exponent) {
  if (!exponent.is_integral() || exponent.as_integer() > 1024 || exponent.as_integer() < -1024)
    template_value_error("an exponent is not an integer between -1024 and 1024");
  const std::int64_t times = exponent.as_integer();
  if (base.is_integral() && times >= 0) {
    std::int64_t product = 1;
    for (std::int64_t i = 0; i < times; ++i)
      if (__builtin_mul_overflow(product, base.as_integer(), &product)) out_of_range();
    return TemplateValue::integer(product);
  }
  if (times < 0 && base.as_real() == 0) template_value_error("division by zero");
  double product = 1;
  for (std::int64_t i = 0; i < std::abs(times); ++i) product *= base.as_real();
  return TemplateValue::real(times < 0 ? 1 / product : product);
}

TemplateValue integer_arithmetic(std::string_view sign, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  const bool overflow = sign == "+"   ? __builtin_add_overflow(a, b, &out)
                        : sign == "-" ? __builtin_sub_overflow(a, b, &out)
                        : sign == "*" ? __builtin_mul_overflow(a, b, &out)
                                      : false;
  if (overflow) out_of_range();
  if (sign == "//") out = floor_quotient(a, b);
  if (sign == "%") out = floor_remainder(a, b);
  return TemplateValue::integer(out);
}

TemplateValue number_arithmetic(std::string_view sign, const TemplateValue& a,
                                const TemplateValue& b) {
  if (sign == "**") return power(a, b);
  if ((sign == "/" || sign == "//" || sign == "%") && b.as_real() == 0)
    template_value_error("division by zero");
  if (a.is_integral() && b.is_integral() && sign != "/")
    return integer_arithmetic(sign, a.as_integer(), b.as_integer());
  const double x = a.as_real();
  const double y = b.as_real();
  if (sign == "+") return TemplateValue::real(x + y);
  if (sign == "-") return TemplateValue::real(x - y);
  if (sign == "*") return TemplateValue::real(x * y);
  if (sign == "/") return TemplateValue::real(x / y);
  return TemplateValue::real(sign == "//" ? floor_divide(x, y).first : floor_divide(x, y).second);
}

TemplateValue joined(const TemplateList& a, const TemplateList& b, TemplateBudget& budget) {
  budget.make((a.values.size() + b.values.size()) * sizeof(TemplateValue));
  std::vector<TemplateValue> values = a.values;
  values.insert(values.end(), b.values.begin(), b.values.end());
  return TemplateValue::list(std::move(values), a.tuple);
}

TemplateValue repeated(const TemplateValue& value, std::int64_t times, TemplateBudget& budget) {
  const std::size_t count = times < 0 ? 0 : static_cast<std::size_t>(times);
  const std::size_t unit = value.is_text() ? value.as_text().size()
                                           : value.as_list().values.size() * sizeof(TemplateValue);
  const auto bytes = static_cast<double>(unit) * static_cast<double>(count);
  budget.make(bytes > static_cast<double>(kTemplateBytes) ? kTemplateBytes + 1 : unit * count);
  if (value.is_text()) {
    std::string text;
    for (std::size_t i = 0; unit > 0 && i < count; ++i) text += value.as_text();
    return TemplateValue::text(std::move(text));
  }
  std::vector<TemplateValue> values;
  for (std::size_t i = 0; unit > 0 && i < count; ++i)
    values.insert(values.end(), value.as_list().values.begin(), value.as_list().values.end());
  return TemplateValue::list(std::move(values), value.as_list().tuple);
}

bool is_sequence(const TemplateValue& value) { return value.is_text() || value.is(Kind::list); }

template <class Entries>
bool all_equal(const Entries& a, const Entries& b, TemplateBudget& budget) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [&](const auto& x, const auto& y) { return are_equal(x, y, budget); });
}

bool dicts_equal(const TemplateDict& a, const TemplateDict& b, TemplateBudget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    budget.step(1 + b.entries.size() / 16);
    const TemplateValue* other = b.find(entry.first);
    return other != nullptr && are_equal(entry.second, *other, budget);
  });
}

TemplateValue loop_attribute(const TemplateLoop& loop, std::string_view name) {
  const std::size_t length = loop.values.size();
  const auto integer = [](std::size_t value) {
    return TemplateValue::integer(static_cast<std::int64_t>(value));
  };
  if (name == "index") return integer(loop.index + 1);
  if (name == "index0") return integer(loop.index);
  if (name == "revindex") return integer(length - loop.index);
  if (name == "revindex0") return integer(length - loop.index - 1);
  if (name == "length") return integer(length);
  if (name == "depth") return integer(loop.depth);
  if (name == "depth0") return integer(loop.depth - 1);
  if (name == "first") return TemplateValue::boolean(loop.index == 0);
  if (name == "last") return TemplateValue::boolean(loop.index + 1 == length);
  if (name == "previtem" && loop.index > 0) return loop.values[loop.index - 1];
  if (name == "nextitem" && loop.index + 1 < length) return loop.values[loop.index + 1];
  return TemplateValue::undefined(fmt::format("'loop.{}'", name));
}

/// What an object has under a name, methods aside.
std::optional<TemplateValue> keyed(const TemplateValue& object, std::string_view name) {
  if (object.is(Kind::dict)) {
    const TemplateValue* found = object.as_dict().find(name);
    if (found != nullptr) return *found;
  }
  if (object.is(Kind::name_space)) {
    const auto found = object.as_namespace().attributes.find(name);
    if (found != object.as_namespace().attributes.end()) return found->second;
  }
  return std::nullopt;
}

TemplateValue missing(const TemplateValue& object, std::string_view name) {
  return TemplateValue::undefined(
      fmt::format("attribute {} of {}", quote(name), object.describe()));
}

/// Bounds of a slice, clipped to the sequence as Python does.
struct Slice {
  std::int64_t start, stop, step;

  template <class Take>
  void for_each(Take&& take) const {
    for (std::int64_t i = start; step > 0 ? i < stop : i > stop; i += step)
      take(static_cast<std::size_t>(i));
  }
};

Slice clipped(const TemplateValue& start, const TemplateValue& stop, const TemplateValue& step,
              std::int64_t length) {
  const auto bound = [](const TemplateValue& value) -> std::optional<std::int64_t> {
    if (value.is(Kind::none)) return std::nullopt;
    if (!value.is_integral()) template_value_error("a slice is bounded by " + value.describe());
    return value.as_integer();
  };
  const std::int64_t by = bound(step).value_or(1);
  if (by == 0) template_value_error("the step of a slice is zero");
  const std::int64_t low = by > 0 ? 0 : -1;
  const std::int64_t high = by > 0 ? length : length - 1;
  const auto clip = [&](std::optional<std::int64_t> value, std::int64_t fallback) {
    if (!value) return fallback;
    return std::clamp(*value < 0 ? *value + length : *value, low, high);
  };
  // A step beyond the length is as good as the length, and cannot overflow.
  const std::int64_t far = length + 1;
  return {clip(bound(start), by > 0 ? low : high), clip(bound(stop), by > 0 ? high : low),
          std::clamp(by, -far, far)};
}

}  // namespace

TemplateValue arithmetic(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
                         TemplateBudget& budget) {
  if (a.is_number() && b.is_number()) return number_arithmetic(sign, a, b);
  if (sign == "+" && a.is_text() && b.is_text()) {
    budget.make(a.as_text().size() + b.as_text().size());
    return TemplateValue::text(a.as_text() + b.as_text());
  }
  if (sign == "+" && a.is(Kind::list) && b.is(Kind::list) && a.as_list().tuple == b.as_list().tuple)
    return joined(a.as_list(), b.as_list(), budget);
  if (sign == "*" && is_sequence(a) && b.is_integral()) return repeated(a, b.as_integer(), budget);
  if (sign == "*" && a.is_integral() && is_sequence(b)) return repeated(b, a.as_integer(), budget);
  if (sign == "%" && a.is_text()) template_unsupported("the operator", "% on a string");
  no_meaning(sign, a, b);
}

TemplateValue negated(const TemplateValue& value) {
  if (value.is(Kind::real)) return TemplateValue::real(-value.as_real());
  if (!value.is_integral()) template_value_error("'-' has no meaning for " + value.describe());
  return integer_arithmetic("-", 0, value.as_integer());
}

bool are_equal(const TemplateValue& a, const TemplateValue& b, TemplateBudget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
    return a.as_real() == b.as_real();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::text:
      budget.read(std::min(a.as_text().size(), b.as_text().size()));
      return a.as_text() == b.as_text();
    case Kind::list:
      return a.as_list().tuple == b.as_list().tuple &&
             all_equal(a.as_list().values, b.as_list().values, budget);
    case Kind::dict:
      return dicts_equal(a.as_dict(), b.as_dict(), budget);
    case Kind::name_space:
      return &a.as_namespace() == &b.as_namespace();
    case Kind::loop:
      return &a.as_loop() == &b.as_loop();
    case Kind::macro:
      return &a.as_macro() == &b.as_macro();
    case Kind::function:
      return a.as_function() == b.as_function();
    default:
      return true;  // None, or undefined
  }
}

bool is_less(const TemplateValue& a, const TemplateValue& b, TemplateBudget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_integer() < b.as_integer();
    return a.as_real() < b.as_real();
  }
  if (a.is_text() && b.is_text()) {
    budget.read(std::min(a.as_text().size(), b.as_text().size()));
    return a.as_text() < b.as_text();  // bytes of UTF-8 order as code points do
  }
  if (!a.is(Kind::list) || !b.is(Kind::list) || a.as_list().tuple != b.as_list().tuple)
    no_meaning("<", a, b);
  const auto& left = a.as_list().values;
  const auto& right = b.as_list().values;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
    if (!are_equal(left[i], right[i], budget)) return is_less(left[i], right[i], budget);
  return left.size() < right.size();
}

bool contains(const TemplateValue& container, const TemplateValue& value, TemplateBudget& budget) {
  switch (container.kind()) {
    case Kind::undefined:
      return false;
    case Kind::text:
      if (!value.is_text()) no_meaning("in", value, container);
      budget.read(container.as_text().size());
      return find_text(container.as_text(), value.as_text()) != std::string_view::npos;
    case Kind::list: {
      const auto& values = container.as_list().values;
      return std::any_of(values.begin(), values.end(),
                         [&](const TemplateValue& one) { return are_equal(one, value, budget); });
    }
    case Kind::dict:
      budget.step(container.as_dict().entries.size() / 16);
      return value.is_text() && container.as_dict().find(value.as_text()) != nullptr;
    default:
      no_meaning("in", value, container);
  }
}

bool holds(std::string_view sign, const TemplateValue& a, const TemplateValue& b,
           TemplateBudget& budget) {
  if (sign == "==") return are_equal(a, b, budget);
  if (sign == "!=") return !are_equal(a, b, budget);
  if (sign == "in") return contains(b, a, budget);
  if (sign == "not in") return !contains(b, a, budget);
  if (sign == "<") return is_less(a, b, budget);
  if (sign == ">") return is_less(b, a, budget);
  // "not greater" would be wrong for what compares with nothing, such as nan
  const bool less = sign == "<=" ? is_less(a, b, budget) : is_less(b, a, budget);
  return less || are_equal(a, b, budget);
}

TemplateValue attribute_of(const TemplateValue& object, std::string_view name) {
  refuse_host_attribute(name);
  if (object.is(Kind::undefined))
    template_value_error(
        fmt::format("the template asks for {} of {} undefined value", quote(name),
                    object.describe().ends_with(',') ? object.describe() + " an" : "an"));
  const std::string_view method = method_name(object, name);
  if (!method.empty()) return TemplateValue::function(method);
  if (object.is(Kind::loop)) return loop_attribute(object.as_loop(), name);
  const auto found = keyed(object, name);
  return found ? *found : missing(object, name);
}

TemplateValue item_of(const TemplateValue& object, const TemplateValue& key,
                      TemplateBudget& budget) {
  if (object.is(Kind::dict)) budget.step(object.as_dict().entries.size() / 16);
  if (key.is_text()) {
    const auto found = keyed(object, key.as_text());
    return found ? *found : attribute_of(object, key.as_text());
  }
  if (object.is(Kind::undefined)) return attribute_of(object, "an element");
  const auto absent = [&] { return missing(object, to_text(key, budget)); };
  if (!is_sequence(object) || !key.is_integral()) return absent();
  if (object.is_text()) budget.read(object.as_text().size());
  const auto length = static_cast<std::int64_t>(object.is_text() ? character_count(object.as_text())
                                                                 : object.as_list().values.size());
  const std::int64_t index = key.as_integer() < 0 ? key.as_integer() + length : key.as_integer();
  if (index < 0 || index >= length) return absent();
  if (object.is(Kind::list)) return object.as_list().values[static_cast<std::size_t>(index)];
  const std::string& text = object.as_text();
  std::size_t at = 0;
  for (std::int64_t i = 0; i < index; ++i) at += character_bytes(text, at);
  return TemplateValue::text(text.substr(at, character_bytes(text, at)));
}

TemplateValue slice_of(const TemplateValue& object, const TemplateValue& start,
                       const TemplateValue& stop, const TemplateValue& step,
                       TemplateBudget& budget) {
  if (!is_sequence(object)) template_value_error(object.describe() + " cannot be sliced");
  if (object.is(Kind::list)) {
    const auto& values = object.as_list().values;
    std::vector<TemplateValue> out;
    const Slice slice = clipped(start, stop, step, static_cast<std::int64_t>(values.size()));
    budget.make(values.size() * sizeof(TemplateValue));
    slice.for_each([&](std::size_t i) { out.push_back(values[i]); });
    return TemplateValue::list(std::move(out), object.as_list().tuple);
  }
  const std::string& text = object.as_text();
  budget.make(text.size());
  std::vector<std::uint32_t> starts;  // of characters; a text holds at most 4 MiB
  for (std::size_t at = 0; at < text.size(); at += character_bytes(text, at))
    starts.push_back(static_cast<std::uint32_t>(at));
  std::string out;
  clipped(start, stop, step, static_cast<std::int64_t>(starts.size())).for_each([&](std::size_t i) {
    out.append(text, starts[i], character_bytes(text, starts[i]));
  });
  return TemplateValue::text(std::move(out));
}

}  // namespace tender::text
