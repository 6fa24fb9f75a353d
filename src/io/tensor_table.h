#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/name_index.h"
#include "tensor/tensor_source.h"

namespace tender::io {

/// Most tensors of a checkpoint (checkpoints.md, section 9).
constexpr std::uint64_t kMaxTensors = 1'000'000;

/// The tensors of one or more files, found by name.
class TensorTable final : public TensorSource {
 public:
  TensorTable() = default;

  /// Appends the tensors of one file.
  void add_file(std::string file, std::vector<TensorInfo> tensors);
  /// Builds the index. @return the first two tensors of the same name, or nothing
  std::optional<std::pair<std::uint32_t, std::uint32_t>> index();

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  std::string file_of(const TensorInfo& tensor) const override;
  const std::string& file_of(std::uint32_t tensor) const { return files_[file_[tensor]]; }

 private:
  std::vector<std::string> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint32_t> file_;  ///< of each tensor
  NameIndex names_;
};

}  // namespace tender::io
