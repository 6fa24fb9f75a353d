#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/checkpoint.h"

namespace tender::model {

/// Hyper-parameters in the metadata of a GGUF file, under the prefix of its architecture.
/// Refusals are GG_PARAM, GG_KEY_MISSING, GG_KEY_TYPE (checkpoints 8.3) or ARCH_FEATURE.
class GgufConfig {
 public:
  explicit GgufConfig(const io::Checkpoint& checkpoint);

  const io::GgufMetadata& metadata() const { return metadata_; }
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }

  std::int64_t integer(std::string_view name, std::int64_t least, std::int64_t most) const;
  std::int64_t integer(std::string_view name, std::int64_t least, std::int64_t most,
                       std::int64_t fallback) const;
  /// An integer, or an array of one for each layer, which must all be equal (ARCH_FEATURE if not).
  std::int64_t layered(std::string_view name, std::int64_t least, std::int64_t most,
                       std::size_t layers) const;
  std::int64_t layered(std::string_view name, std::int64_t least, std::int64_t most,
                       std::size_t layers, std::int64_t fallback) const;
  /// The shortest decimal that is this float32, so that 1e-5 does not become 9.999999747378752e-06.
  double number(std::string_view name, double least, double most) const;
  double number(std::string_view name, double least, double most, double fallback) const;
  /// block_count, held against the numbers of the tensors blk.N.
  std::size_t layers() const;

  [[noreturn]] void refuse(std::string_view name, const std::string& found,
                           const std::string& expected) const;
  [[noreturn]] void unsupported(std::string_view name, const std::string& found,
                                const std::string& supported) const;

 private:
  const io::Checkpoint& checkpoint_;
  const io::GgufMetadata& metadata_;
  std::string prefix_;
};

}  // namespace tender::model
