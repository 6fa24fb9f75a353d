#include "text/chat_template/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

class JsonPrinter {
 public:
  JsonPrinter(const TemplateJsonStyle& style, TemplateBudget& budget)
      : style_(style), budget_(budget) {}

  void print(const TemplateValue& value) {
    switch (value.kind()) {
      case Kind::none:
        return put("null");
      case Kind::boolean:
        return put(value.as_boolean() ? "true" : "false");
      case Kind::integer:
        return put(fmt::format("{}", value.as_integer()));
      case Kind::real:
        return put(number(value.as_real()));
      case Kind::text:
        return print(value.as_text());
      case Kind::list:
        return print(value.as_list());
      case Kind::dict:
        return print(value.as_dict());
      default:
        template_value_error(value.describe() + " cannot be written as JSON");
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void put(std::string_view text) { append_within_limits(out_, text, budget_); }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return real_text(value);
  }

  void line() {
    if (!style_.multiline) return;
    put("\n");
    for (std::size_t i = 0; i < level_; ++i) put(style_.indentation);
  }

  void separate() {
    put(style_.item_separator);
    line();
  }

  void print(const std::string& text) {
    std::string quoted = "\"";
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t bytes = character_bytes(text, at);
      const char32_t c = character_value(text, at);
      if (!escape(c, quoted)) quoted.append(text, at, bytes);
      at += bytes;
    }
    put(quoted + "\"");
  }

  /// Appends the escape of a character that needs one.
  bool escape(char32_t c, std::string& out) const {
    constexpr std::string_view kNamed = "\"\\\n\r\t\f\b";
    constexpr std::string_view kNames = "\"\\nrtfb";
    const std::size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : std::string_view::npos;
    if (named != std::string_view::npos)
      out += '\\', out += kNames[named];
    else if (c < 0x20 || (style_.ensure_ascii && c > 0x7e && c < 0x10000))
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    else if (style_.ensure_ascii && c >= 0x10000)
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0U + (static_cast<std::uint32_t>(c) >> 10U),
                         0xdc00U + (static_cast<std::uint32_t>(c) & 0x3ffU));
    else
      return false;
    return true;
  }

  void print(const TemplateList& list) {
    if (list.values.empty()) return put("[]");
    put("[");
    ++level_;
    line();
    for (std::size_t i = 0; i < list.values.size(); ++i) {
      if (i > 0) separate();
      print(list.values[i]);
    }
    --level_;
    line();
    put("]");
  }

  void print(const TemplateDict& dict) {
    if (dict.entries.empty()) return put("{}");
    std::vector<const std::pair<std::string, TemplateValue>*> order;
    for (const auto& entry : dict.entries) order.push_back(&entry);
    if (style_.sort_keys)
      std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->first < b->first; });
    put("{");
    ++level_;
    line();
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0) separate();
      print(order[i]->first);
      put(style_.key_separator);
      print(order[i]->second);
    }
    --level_;
    line();
    put("}");
  }

  const TemplateJsonStyle& style_;
  TemplateBudget& budget_;
  std::size_t level_ = 0;
  std::string out_;
};

}  // namespace

TemplateValue template_value_of(const OrderedJson& json) {
  using Type = OrderedJson::value_t;
  switch (json.type()) {
    case Type::boolean:
      return TemplateValue::boolean(json.get<bool>());
    case Type::number_integer:
      return TemplateValue::integer(json.get<std::int64_t>());
    case Type::number_unsigned: {
      const auto value = json.get<std::uint64_t>();
      if (value > static_cast<std::uint64_t>(INT64_MAX))
        return TemplateValue::real(static_cast<double>(value));
      return TemplateValue::integer(static_cast<std::int64_t>(value));
    }
    case Type::number_float:
      return TemplateValue::real(json.get<double>());
    case Type::string:
      return TemplateValue::text(json.get<std::string>());
    case Type::array: {
      std::vector<TemplateValue> values;
      for (const OrderedJson& value : json) values.push_back(template_value_of(value));
      return TemplateValue::list(std::move(values));
    }
    case Type::object: {
      TemplateValue::Entries entries;
      for (const auto& [key, value] : json.items())
        entries.emplace_back(key, template_value_of(value));
      return TemplateValue::dict(std::move(entries));
    }
    default:
      return TemplateValue::none();
  }
}

std::string template_json(const TemplateValue& value, const TemplateJsonStyle& style,
                          TemplateBudget& budget) {
  JsonPrinter printer(style, budget);
  printer.print(value);
  return printer.take();
}

}  // namespace tender::text
