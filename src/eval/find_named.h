#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tender::eval {

/// The entry of that name in a list of values with a field `name`.
/// @param option  what the user set: "protocol"
/// @throws Error invalid_argument with `code`, naming those that exist
template <class T>
const T& find_named(std::span<const T> list, std::string_view name, std::string_view option,
                    const char* code) {
  std::string names;
  for (const T& each : list) {
    if (each.name == name) return each;
    names += (names.empty() ? "" : ", ") + std::string(each.name);
  }
  fail(ErrorKind::invalid_argument,
       {.code = code, .item = std::string(option), .found = std::string(name), .expected = names},
       "--{} {} is unknown; there are: {}", option, quote(name), names);
}

}  // namespace tender::eval
