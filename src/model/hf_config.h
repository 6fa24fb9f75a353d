#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace tender::model {

/// Caps of hyper-parameters (checkpoints 9); what exceeds them is no model but a damaged file.
struct Caps {
  static constexpr std::size_t layers = 4096;
  static constexpr std::size_t vocabulary = std::size_t{1} << 24U;
  static constexpr std::size_t width = std::size_t{1} << 20U;
  static constexpr std::size_t heads = std::size_t{1} << 16U;
  static constexpr std::size_t head_width = 4096;
  static constexpr std::size_t context = std::size_t{1} << 30U;  // positions are int32
};

/// Typed access to config.json. Every refusal is HF_PARAM and names key, value and range.
class HfConfig {
 public:
  /// @param prefix  for messages where `object` is a part of the file: "rope_scaling."
  HfConfig(const Json& object, std::string file, std::string prefix = "");

  /// Present and not null.
  bool has(std::string_view key) const;
  const Json& object() const { return object_; }

  std::size_t size(std::string_view key, std::size_t least, std::size_t most) const;
  std::size_t size(std::string_view key, std::size_t least, std::size_t most,
                   std::size_t fallback) const;
  /// A finite number in [least, most].
  double number(std::string_view key, double least, double most) const;
  double number(std::string_view key, double least, double most, double fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  /// `count` finite numbers in [least, most].
  std::vector<double> numbers(std::string_view key, std::size_t count, double least,
                              double most) const;
  /// `count` strings.
  std::vector<std::string> texts(std::string_view key, std::size_t count) const;
  /// An object inside this one; nothing if it is absent or null.
  std::optional<HfConfig> part(std::string_view key) const;

  /// Fails with HF_PARAM: "config.json: num_attention_heads is 0: expected …".
  [[noreturn]] void refuse(std::string_view key, const std::string& expected) const;
  /// Fails with ARCH_FEATURE: a setting that is valid but that this build cannot run.
  [[noreturn]] void unsupported(std::string_view key, const std::string& supported) const;

 private:
  const Json* find(std::string_view key) const;
  std::string shown(std::string_view key) const;

  const Json& object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace tender::model
