#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template/value.h"

namespace tender::text {

struct TemplateArguments {
  std::vector<TemplateValue> positional;
  std::vector<std::pair<std::string, TemplateValue>> named;
};

/// Names of the parameters of a filter, test, method or function; empty where there are fewer.
using TemplateParameters = std::array<std::string_view, 4>;

/// Arguments by parameter, in the order of the parameters.
class TemplateBound {
 public:
  /// @param what  the callee in words, for messages
  /// @throws Error TPL_VALUE where there are too many arguments, or one by an unknown name or twice
  TemplateBound(std::string_view what, const TemplateParameters& parameters,
                const TemplateArguments& arguments);

  bool has(std::size_t i) const { return given_[i] != nullptr; }
  /// The argument, or undefined.
  const TemplateValue& value(std::size_t i) const;
  /// True if absent or None.
  bool is_none(std::size_t i) const { return !has(i) || value(i).is(TemplateValue::Kind::none); }
  const std::string& text(std::size_t i) const;
  std::int64_t integer(std::size_t i, std::int64_t fallback) const;
  bool flag(std::size_t i, bool fallback) const { return has(i) ? is_true(value(i)) : fallback; }

 private:
  std::string what_;
  TemplateParameters parameters_;
  std::array<const TemplateValue*, 4> given_{};
};

}  // namespace tender::text
