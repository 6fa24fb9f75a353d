#include "io/tensor_table.h"

#include <iterator>

namespace tender::io {

void TensorTable::add_file(std::string file, std::vector<TensorInfo> tensors) {
  file_.resize(file_.size() + tensors.size(), static_cast<std::uint32_t>(files_.size()));
  files_.push_back(std::move(file));
  if (tensors_.empty())
    tensors_ = std::move(tensors);
  else
    std::move(tensors.begin(), tensors.end(), std::back_inserter(tensors_));
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> TensorTable::index() {
  names_ = NameIndex(tensors_.size());
  const auto name_of = [&](std::uint32_t i) { return std::string_view(tensors_[i].name); };
  for (std::uint32_t i = 0; i < tensors_.size(); ++i)
    if (const auto other = names_.insert(tensors_[i].name, i, name_of)) return std::pair(*other, i);
  return std::nullopt;
}

const TensorInfo* TensorTable::find(std::string_view name) const {
  const auto found =
      names_.find(name, [&](std::uint32_t i) { return std::string_view(tensors_[i].name); });
  return found ? &tensors_[*found] : nullptr;
}

std::string TensorTable::file_of(const TensorInfo& tensor) const {
  const TensorInfo* own = find(tensor.name);
  return own == nullptr ? std::string()
                        : file_of(static_cast<std::uint32_t>(own - tensors_.data()));
}

}  // namespace tender::io
