#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/json.h"
#include "quant/registry.h"

namespace tender::quant {

// An Options struct lists its fields once:
//
//     struct GptqOptions {
//       int bits = 4;
//       Order order = Order::natural;
//       template <class Self, class Visitor>
//       static void fields(Self& self, Visitor& visit) {
//         visit.integer("bits", self.bits, 2, 8, "bits of a weight code");
//         visit.choice("order", self.order, kOrderNames, "order of the sweep");
//       }
//     };
//     void settle(GptqOptions&);  // checks across fields, and defaults that depend on other fields
//
// JSON, flags, help and documents are made of that list by the visitors below.

/// Collects what help says of each field.
class OptionDescriber {
 public:
  void integer(std::string_view name, const int& value, int low, int high,
               std::string_view description);
  void real(std::string_view name, const double& value, double low, double high,
            std::string_view description);
  void bits(std::string_view name, const int& value, std::string_view description) {
    integer_of(name, value, "4 or 8", description);
  }
  template <class Enum>
  void choice(std::string_view name, const Enum& value, std::span<const std::string_view> names,
              std::string_view description) {
    add_choice(name, static_cast<std::size_t>(value), names, description);
  }
  std::vector<OptionInfo> take() { return std::move(options_); }

 private:
  void integer_of(std::string_view name, int value, std::string_view range,
                  std::string_view description);
  void add_choice(std::string_view name, std::size_t value, std::span<const std::string_view> names,
                  std::string_view description);
  std::vector<OptionInfo> options_;
};

/// Writes every field into a JSON object.
class OptionWriter {
 public:
  void integer(std::string_view name, const int& value, int, int, std::string_view) {
    json_[std::string(name)] = value;
  }
  void real(std::string_view name, const double& value, double, double, std::string_view) {
    json_[std::string(name)] = value;
  }
  void bits(std::string_view name, const int& value, std::string_view) {
    json_[std::string(name)] = value;
  }
  template <class Enum>
  void choice(std::string_view name, const Enum& value, std::span<const std::string_view> names,
              std::string_view) {
    json_[std::string(name)] = std::string(names[static_cast<std::size_t>(value)]);
  }
  Json take() { return std::move(json_); }

 private:
  Json json_ = Json::object();
};

/// Sets the fields that a JSON object names; finish() refuses names that no field has.
class OptionReader {
 public:
  /// @throws Error invalid_argument (OPTION_VALUE) if `json` is neither an object nor null
  OptionReader(std::string_view method, const Json& json);
  /// @throws Error invalid_argument (OPTION_VALUE)
  void integer(std::string_view name, int& value, int low, int high, std::string_view description);
  /// A number, both ends included; text in JSON has the digits that give the same double back.
  /// @throws Error invalid_argument (OPTION_VALUE)
  void real(std::string_view name, double& value, double low, double high,
            std::string_view description);
  /// 4 or 8: what is stored as nibbles and as bytes. Widths between would only pretend to be
  /// smaller.
  void bits(std::string_view name, int& value, std::string_view description);
  template <class Enum>
  void choice(std::string_view name, Enum& value, std::span<const std::string_view> names,
              std::string_view) {
    value = static_cast<Enum>(read_choice(name, static_cast<std::size_t>(value), names));
  }
  /// @throws Error invalid_argument (OPTION_UNKNOWN)
  void finish() const;

 private:
  const Json* take(std::string_view name);
  std::size_t read_choice(std::string_view name, std::size_t value,
                          std::span<const std::string_view> names);

  std::string method_;
  const Json& json_;
  std::vector<std::string> known_;
};

/// "a, b, c" for messages. (fmt::join trips g++ 12's -Wstringop-overflow.)
template <class Range>
std::string listed(const Range& items) {
  std::string text;
  for (const auto& item : items) text += fmt::format("{}{}", text.empty() ? "" : ", ", item);
  return text;
}

/// Throws invalid_argument (OPTION_VALUE) for a rule that spans fields.
[[noreturn]] void refuse_option(std::string_view method, std::string_view name,
                                const std::string& found, const std::string& expected);

template <class Options>
std::vector<OptionInfo> describe_options() {
  const Options defaults;
  OptionDescriber describer;
  Options::fields(defaults, describer);
  return describer.take();
}

template <class Options>
Json write_options(const Options& options) {
  OptionWriter writer;
  Options::fields(options, writer);
  return writer.take();
}

/// @throws Error invalid_argument (OPTION_UNKNOWN, OPTION_VALUE)
template <class Options>
Options read_options(std::string_view method, const Json& json) {
  Options options;
  OptionReader reader(method, json);
  Options::fields(options, reader);
  reader.finish();
  settle(options);
  return options;
}

}  // namespace tender::quant
