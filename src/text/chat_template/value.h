#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/chat_template/budget.h"

namespace tender::text {

class TemplateValue;
struct TemplateMacro;

/// A Python list or tuple. Never changed once made, so that no cycles arise.
struct TemplateList {
  std::vector<TemplateValue> values;
  bool tuple = false;
  std::uint32_t depth = 1;
};

/// A Python dict with string keys, in order of insertion.
struct TemplateDict {
  std::vector<std::pair<std::string, TemplateValue>> entries;
  std::uint32_t depth = 1;

  const TemplateValue* find(std::string_view key) const;
};

struct TemplateNamespace;
struct TemplateLoop;

/// A value of the template language, with the semantics of Python and of Jinja's Undefined.
///
/// Strings, lists and dicts are shared and constant. Namespaces and loops can change, so values
/// only point at them; they live as long as the rendering.
class TemplateValue {
 public:
  enum class Kind : std::uint8_t {
    undefined,
    none,
    boolean,
    integer,
    real,
    text,
    list,
    dict,
    name_space,
    loop,
    macro,
    function
  };
  using Entries = std::vector<std::pair<std::string, TemplateValue>>;

  /// Undefined, without a name.
  TemplateValue() = default;
  /// @param what  what is missing, for messages: "'x'"
  static TemplateValue undefined(std::string what);
  static TemplateValue none() { return TemplateValue(Data(std::in_place_index<1>)); }
  static TemplateValue boolean(bool value) {
    return TemplateValue(Data(std::in_place_index<2>, value));
  }
  static TemplateValue integer(std::int64_t value) {
    return TemplateValue(Data(std::in_place_index<3>, value));
  }
  static TemplateValue real(double value) {
    return TemplateValue(Data(std::in_place_index<4>, value));
  }
  static TemplateValue text(std::string value);
  /// @throws Error TPL_STEPS where values lie too deep within each other
  static TemplateValue list(std::vector<TemplateValue> values, bool tuple = false);
  static TemplateValue dict(Entries entries);
  static TemplateValue name_space(TemplateNamespace* object) {
    return TemplateValue(Data(std::in_place_index<8>, object));
  }
  static TemplateValue loop(TemplateLoop* object) {
    return TemplateValue(Data(std::in_place_index<9>, object));
  }
  static TemplateValue macro(const TemplateMacro* object) {
    return TemplateValue(Data(std::in_place_index<10>, object));
  }
  /// A function of the language or a method, by its name, which must outlive the value.
  static TemplateValue function(std::string_view name) {
    return TemplateValue(Data(std::in_place_index<11>, name));
  }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_text() const { return is(Kind::text); }
  bool is_integral() const { return is(Kind::integer) || is(Kind::boolean); }
  bool is_number() const { return is_integral() || is(Kind::real); }

  bool as_boolean() const { return std::get<2>(data_); }
  std::int64_t as_integer() const;  ///< of an integer or a boolean
  double as_real() const;           ///< of any number
  const std::string& as_text() const { return *std::get<5>(data_); }
  const TemplateList& as_list() const { return *std::get<6>(data_); }
  const TemplateDict& as_dict() const { return *std::get<7>(data_); }
  TemplateNamespace& as_namespace() const { return *std::get<8>(data_); }
  TemplateLoop& as_loop() const { return *std::get<9>(data_); }
  const TemplateMacro& as_macro() const { return *std::get<10>(data_); }
  std::string_view as_function() const { return std::get<11>(data_); }

  /// Kind in words, for messages: "a string", "'x', which is undefined".
  std::string describe() const;
  /// Levels of values within this one; 0 for what holds no others.
  std::uint32_t depth() const;

 private:
  using Text = std::shared_ptr<const std::string>;
  using Data =
      std::variant<Text, std::monostate, bool, std::int64_t, double, Text,
                   std::shared_ptr<const TemplateList>, std::shared_ptr<const TemplateDict>,
                   TemplateNamespace*, TemplateLoop*, const TemplateMacro*, std::string_view>;
  explicit TemplateValue(Data data) : data_(std::move(data)) {}

  Data data_{std::in_place_index<0>};  // the first alternative is undefined: what is missing
};

struct TemplateNamespace {
  std::map<std::string, TemplateValue, std::less<>> attributes;
};

/// The `loop` of a for statement.
struct TemplateLoop {
  std::vector<TemplateValue> values;
  std::size_t index = 0;
  std::size_t depth = 1;
  std::vector<TemplateValue> changed;
};

/// Fails with TPL_VALUE: an operation that has no meaning for its values.
[[noreturn]] void template_value_error(const std::string& sentence);

/// Fails with TPL_UNSUPPORTED for a filter, test, function or statement that is not of the subset.
[[noreturn]] void template_unsupported(std::string_view what, std::string_view name);

/// Fails with TPL_FORBIDDEN where `name` probes the insides of the host language.
void refuse_host_attribute(std::string_view name);

/// As Python's bool().
bool is_true(const TemplateValue& value);

/// As Python's str(): what an output statement prints. Undefined gives nothing.
/// @throws Error TPL_OUTPUT, TPL_STEPS, TPL_VALUE for objects without a text
std::string to_text(const TemplateValue& value, TemplateBudget& budget);

/// Appends to a text that is being made. @throws Error TPL_OUTPUT, TPL_STEPS
void append_within_limits(std::string& out, std::string_view text, TemplateBudget& budget);

/// As Python's repr() of a float: shortest digits, always with a point or an exponent.
std::string real_text(double value);

/// What iterating over a value gives: elements, keys, characters; nothing for undefined.
std::vector<TemplateValue> elements(const TemplateValue& value, TemplateBudget& budget);

}  // namespace tender::text
