#include "model/part_reader.h"

#include "base/mapped_file.h"

namespace tender::model {

void PartIndex::add(std::string_view owner, std::string_view part, const TensorInfo& tensor) {
  owners_[std::string(owner)].emplace(std::string(part), Slot{&tensor});
}

const TensorInfo* PartIndex::find(std::string_view owner, std::string_view part) const {
  const auto parts = owners_.find(owner);
  if (parts == owners_.end()) return nullptr;
  const auto slot = parts->second.find(part);
  if (slot == parts->second.end()) return nullptr;
  slot->second.read = true;
  return slot->second.tensor;
}

std::vector<std::string> PartIndex::names(std::string_view owner) const {
  std::vector<std::string> names;
  if (const auto parts = owners_.find(owner); parts != owners_.end())
    for (const auto& [name, slot] : parts->second) names.push_back(name);
  return names;
}

std::vector<std::string> PartIndex::never_read(std::string_view owner) const {
  std::vector<std::string> names;
  if (const auto parts = owners_.find(owner); parts != owners_.end())
    for (const auto& [name, slot] : parts->second)
      if (!slot.read) names.push_back(slot.tensor->name);
  return names;
}

void PartIndex::release(std::string_view owner) const {
  if (const auto parts = owners_.find(owner); parts != owners_.end())
    for (const auto& [name, slot] : parts->second) MappedFile::release(slot.tensor->bytes);
}

std::optional<Part> PartReader::find(std::string_view name) const {
  const TensorInfo* tensor = index_.find(owner_, name);
  if (tensor == nullptr) return std::nullopt;
  return Part{std::string(name), tensor->type, tensor->shape, tensor->bytes};
}

}  // namespace tender::model
