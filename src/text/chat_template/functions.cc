#include "text/chat_template/functions.h"

#include <array>
#include <cstdint>
#include <utility>

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;

}  // namespace

TemplateValue range_of(const TemplateArguments& given, TemplateBudget& budget) {
  const TemplateBound bound("range()", {"start", "stop", "step"}, given);
  const bool one = !bound.has(1);
  const std::int64_t start = one ? 0 : bound.integer(0, 0);
  const std::int64_t stop = bound.integer(one ? 0 : 1, 0);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) template_value_error("the step of range() is zero");
  const double count =
      (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (count > static_cast<double>(kTemplateRange))
    fail(ErrorKind::invalid_input,
         {.code = "TPL_STEPS", .expected = "at most 100000 numbers", .hint = "the template loops"},
         "range() of more than {} numbers", kTemplateRange);
  std::vector<TemplateValue> values;
  if (count > 0) budget.make(static_cast<std::size_t>(count) * sizeof(TemplateValue));
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    values.push_back(TemplateValue::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return TemplateValue::list(std::move(values));
}

void put_entry(TemplateValue::Entries& entries, std::string key, TemplateValue value,
               TemplateBudget& budget) {
  budget.step(1 + entries.size() / 16);
  for (auto& entry : entries)
    if (entry.first == key) {
      entry.second = std::move(value);
      return;
    }
  entries.emplace_back(std::move(key), std::move(value));
}

TemplateValue::Entries named_entries(TemplateArguments given, TemplateBudget& budget) {
  TemplateValue::Entries out;
  if (given.positional.size() > 1)
    template_value_error("more than one value to make a dictionary of");
  if (!given.positional.empty()) {
    if (!given.positional[0].is(Kind::dict))
      template_value_error("a dictionary made of " + given.positional[0].describe());
    out = given.positional[0].as_dict().entries;
    budget.make(out.size() * sizeof(out[0]));
  }
  for (auto& [name, value] : given.named) put_entry(out, name, std::move(value), budget);
  return out;
}

void raise_exception(const TemplateArguments& given, TemplateBudget& budget) {
  const TemplateBound bound("raise_exception()", {"message"}, given);
  fail(ErrorKind::invalid_input,
       {.code = "TPL_RAISED", .hint = "the template of this model refuses such a conversation"},
       "{}", quote(to_text(bound.value(0), budget), 400));
}

TemplateValue time_text(const TemplateArguments& given, const std::tm& now) {
  const TemplateBound bound("strftime_now()", {"format"}, given);
  const std::string& format = bound.text(0);
  if (format.size() > 256)
    template_value_error("strftime_now() with a format of more than 256 bytes");
  std::array<char, 8192> text;
  // One character more, for a length of 0 means that it did not fit as well as that it is empty.
  const std::size_t size = std::strftime(text.data(), text.size(), (format + ".").c_str(), &now);
  if (size == 0) template_value_error("strftime_now() gives more than 8192 bytes");
  return TemplateValue::text(std::string(text.data(), size - 1));
}

}  // namespace tender::text
