#include "quant/options.h"

#include <algorithm>

#include "base/error.h"

namespace tender::quant {
namespace {

std::string flag_of(std::string_view name) {
  std::string flag = "--" + std::string(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

[[noreturn]] void refuse(std::string_view method, std::string_view name, const std::string& found,
                         const std::string& expected) {
  fail(ErrorKind::invalid_argument,
       {.code = "OPTION_VALUE",
        .item = std::string(name),
        .found = found,
        .expected = expected,
        .hint = fmt::format("give {} with a value that {} takes", flag_of(name), method)},
       "{}.{} is {}: expected {}", method, name, found, expected);
}

}  // namespace

void OptionDescriber::integer(std::string_view name, const int& value, int low, int high,
                              std::string_view description) {
  integer_of(name, value, fmt::format("{} to {}", low, high), description);
}

void OptionDescriber::real(std::string_view name, const double& value, double low, double high,
                           std::string_view description) {
  options_.push_back({std::string(name),
                      fmt::format("{}; {} to {}", description, low, high),
                      "number",
                      {},
                      fmt::format("{}", value)});
}

void OptionDescriber::integer_of(std::string_view name, int value, std::string_view range,
                                 std::string_view description) {
  options_.push_back({std::string(name),
                      fmt::format("{}; {}", description, range),
                      "integer",
                      {},
                      std::to_string(value)});
}

void OptionDescriber::add_choice(std::string_view name, std::size_t value,
                                 std::span<const std::string_view> names,
                                 std::string_view description) {
  options_.push_back({std::string(name), std::string(description), "choice",
                      std::vector<std::string>(names.begin(), names.end()),
                      std::string(names[value])});
}

OptionReader::OptionReader(std::string_view method, const Json& json)
    : method_(method), json_(json) {
  if (!json_.is_object() && !json_.is_null())
    refuse(method_, "options", quote(to_text(json_)), "an object of names and values");
}

const Json* OptionReader::take(std::string_view name) {
  known_.emplace_back(name);
  if (!json_.is_object()) return nullptr;
  const auto found = json_.find(std::string(name));
  return found == json_.end() ? nullptr : &*found;
}

void OptionReader::integer(std::string_view name, int& value, int low, int high, std::string_view) {
  const Json* given = take(name);
  if (given == nullptr) return;
  const std::string expected = fmt::format("an integer from {} to {}", low, high);
  if (!given->is_number_integer()) refuse(method_, name, quote(to_text(*given)), expected);
  // Beyond 2^63 nlohmann keeps an unsigned number, whose int64 view is negative: compare as it is.
  if (*given < Json(low) || *given > Json(high)) refuse(method_, name, to_text(*given), expected);
  value = given->get<int>();
}

void OptionReader::real(std::string_view name, double& value, double low, double high,
                        std::string_view) {
  const Json* given = take(name);
  if (given == nullptr) return;
  const std::string expected = fmt::format("a number from {} to {}", low, high);
  if (!given->is_number()) refuse(method_, name, quote(to_text(*given)), expected);
  const double number = given->get<double>();
  if (!(number >= low && number <= high)) refuse(method_, name, to_text(*given), expected);
  value = number;
}

void OptionReader::bits(std::string_view name, int& value, std::string_view) {
  const Json* given = take(name);
  if (given == nullptr) return;
  if (!given->is_number_integer() || (*given != Json(4) && *given != Json(8)))
    refuse(method_, name, quote(to_text(*given)), "4 or 8");
  value = given->get<int>();
}

std::size_t OptionReader::read_choice(std::string_view name, std::size_t value,
                                      std::span<const std::string_view> names) {
  const Json* given = take(name);
  if (given == nullptr) return value;
  const std::string expected = fmt::format("one of {}", listed(names));
  if (!given->is_string()) refuse(method_, name, quote(to_text(*given)), expected);
  const auto& text = given->get_ref<const std::string&>();
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) refuse(method_, name, quote(text), expected);
  return static_cast<std::size_t>(found - names.begin());
}

void OptionReader::finish() const {
  if (!json_.is_object()) return;
  for (const auto& [name, value] : json_.items()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    fail(ErrorKind::invalid_argument,
         {.code = "OPTION_UNKNOWN",
          .item = name,
          .found = name,
          .expected = listed(known_),
          .hint = fmt::format("leave {} away, or choose a method that has it", flag_of(name))},
         "{} has no option {}: it has {}", method_, quote(name), listed(known_));
  }
}

void refuse_option(std::string_view method, std::string_view name, const std::string& found,
                   const std::string& expected) {
  refuse(method, name, found, expected);
}

}  // namespace tender::quant
