#include "text/chat_template/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

std::uint32_t depth_above(std::uint32_t deepest) {
  if (deepest >= kTemplateValueDepth)
    fail(ErrorKind::invalid_input,
         {.code = "TPL_STEPS",
          .expected = fmt::format("at most {} levels", kTemplateValueDepth),
          .hint = "the template builds lists within lists without end"},
         "values lie more than {} levels deep within each other", kTemplateValueDepth);
  return deepest + 1;
}

/// Builds the text of a value piece by piece, so that a shared value cannot grow past the limits.
class Printer {
 public:
  explicit Printer(TemplateBudget& budget) : budget_(budget) {}

  void print(const TemplateValue& value, bool quoted) {
    switch (value.kind()) {
      case Kind::undefined:
        return put(quoted ? "Undefined" : "");
      case Kind::none:
        return put("None");
      case Kind::boolean:
        return put(value.as_boolean() ? "True" : "False");
      case Kind::integer:
        return put(fmt::format("{}", value.as_integer()));
      case Kind::real:
        return put(real_text(value.as_real()));
      case Kind::text:
        return put(quoted ? python_literal(value.as_text()) : value.as_text());
      case Kind::list:
        return print(value.as_list());
      case Kind::dict:
        return print(value.as_dict());
      default:
        template_value_error(value.describe() + " cannot be printed");
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void put(std::string_view text) { append_within_limits(out_, text, budget_); }

  void print(const TemplateList& list) {
    put(list.tuple ? "(" : "[");
    for (std::size_t i = 0; i < list.values.size(); ++i) {
      if (i > 0) put(", ");
      print(list.values[i], true);
    }
    if (list.tuple && list.values.size() == 1) put(",");
    put(list.tuple ? ")" : "]");
  }

  void print(const TemplateDict& dict) {
    put("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!first) put(", ");
      first = false;
      put(python_literal(key));
      put(": ");
      print(value, true);
    }
    put("}");
  }

  TemplateBudget& budget_;
  std::string out_;
};

}  // namespace

const TemplateValue* TemplateDict::find(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const auto& entry) { return entry.first == key; });
  return found == entries.end() ? nullptr : &found->second;
}

TemplateValue TemplateValue::undefined(std::string what) {
  return TemplateValue(
      Data(std::in_place_index<0>, std::make_shared<const std::string>(std::move(what))));
}

TemplateValue TemplateValue::text(std::string value) {
  return TemplateValue(
      Data(std::in_place_index<5>, std::make_shared<const std::string>(std::move(value))));
}

TemplateValue TemplateValue::list(std::vector<TemplateValue> values, bool tuple) {
  std::uint32_t deepest = 0;
  for (const TemplateValue& value : values) deepest = std::max(deepest, value.depth());
  auto list = std::make_shared<TemplateList>();
  list->values = std::move(values);
  list->tuple = tuple;
  list->depth = depth_above(deepest);
  return TemplateValue(Data(std::in_place_index<6>, std::move(list)));
}

TemplateValue TemplateValue::dict(Entries entries) {
  std::uint32_t deepest = 0;
  for (const auto& [key, value] : entries) deepest = std::max(deepest, value.depth());
  auto dict = std::make_shared<TemplateDict>();
  dict->entries = std::move(entries);
  dict->depth = depth_above(deepest);
  return TemplateValue(Data(std::in_place_index<7>, std::move(dict)));
}

std::int64_t TemplateValue::as_integer() const {
  return is(Kind::boolean) ? static_cast<std::int64_t>(as_boolean()) : std::get<3>(data_);
}

double TemplateValue::as_real() const {
  return is(Kind::real) ? std::get<4>(data_) : static_cast<double>(as_integer());
}

std::uint32_t TemplateValue::depth() const {
  if (is(Kind::list)) return as_list().depth;
  if (is(Kind::dict)) return as_dict().depth;
  return 0;
}

std::string TemplateValue::describe() const {
  switch (kind()) {
    case Kind::undefined: {
      const Text& what = std::get<0>(data_);
      return what == nullptr ? "an undefined value" : *what + ", which is undefined,";
    }
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "a boolean";
    case Kind::integer:
      return "an integer";
    case Kind::real:
      return "a number";
    case Kind::text:
      return "a string";
    case Kind::list:
      return as_list().tuple ? "a tuple" : "a list";
    case Kind::dict:
      return "a dictionary";
    case Kind::name_space:
      return "a namespace";
    case Kind::loop:
      return "a loop";
    case Kind::macro:
      return "a macro";
    case Kind::function:
      return "a function";
  }
  return "";
}

void template_value_error(const std::string& sentence) {
  fail(
      ErrorKind::invalid_input,
      {.code = "TPL_VALUE",
       .hint = "the template does not fit this conversation, or it relies on more than the subset"},
      "{}", sentence);
}

void template_unsupported(std::string_view what, std::string_view name) {
  fail(ErrorKind::unsupported,
       {.code = "TPL_UNSUPPORTED",
        .item = std::string(name),
        .hint = "docs list the subset of Jinja that templates may use"},
       "the template uses {} {}, which is not supported", what, quote(name));
}

void refuse_host_attribute(std::string_view name) {
  if (!name.starts_with("__")) return;
  fail(ErrorKind::invalid_input,
       {.code = "TPL_FORBIDDEN",
        .item = std::string(name.substr(0, 80)),
        .hint = "do not trust this template: such names serve to break out of a sandbox"},
       "the template asks for the attribute {}", quote(name));
}

bool is_true(const TemplateValue& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
      return value.as_boolean();
    case Kind::integer:
      return value.as_integer() != 0;
    case Kind::real:
      return value.as_real() != 0;
    case Kind::text:
      return !value.as_text().empty();
    case Kind::list:
      return !value.as_list().values.empty();
    case Kind::dict:
      return !value.as_dict().entries.empty();
    default:
      return true;
  }
}

void append_within_limits(std::string& out, std::string_view text, TemplateBudget& budget) {
  budget.step();
  budget.read(text.size());
  if (out.size() + text.size() > kTemplateBytes) budget.make(out.size() + text.size());  // fails
  out += text;
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string to_text(const TemplateValue& value, TemplateBudget& budget) {
  Printer printer(budget);
  printer.print(value, false);
  return printer.take();
}

std::vector<TemplateValue> elements(const TemplateValue& value, TemplateBudget& budget) {
  std::vector<TemplateValue> out;
  switch (value.kind()) {
    case Kind::undefined:
      return out;
    case Kind::list:
      budget.make(value.as_list().values.size() * sizeof(TemplateValue));
      return value.as_list().values;
    case Kind::dict:
      budget.make(value.as_dict().entries.size() * sizeof(TemplateValue));
      for (const auto& [key, unused] : value.as_dict().entries)
        out.push_back(TemplateValue::text(key));
      return out;
    case Kind::text: {
      const std::string& text = value.as_text();
      budget.make(character_count(text) * sizeof(TemplateValue));
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t bytes = character_bytes(text, at);
        out.push_back(TemplateValue::text(text.substr(at, bytes)));
        at += bytes;
      }
      return out;
    }
    default:
      template_value_error(value.describe() + " cannot be iterated over");
  }
}

}  // namespace tender::text
