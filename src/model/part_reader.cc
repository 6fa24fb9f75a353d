#include "model/part_reader.h"

#include "base/mapped_file.h"

namespace tender::model {

void PartIndex::add(std::string_view owner, std::string_view part, const TensorInfo& tensor) {
  owners_[std::string(owner)].emplace(std::string(part), Slot{&tensor});
}

void PartIndex::add(std::span<const TensorInfo> tensors) {
  for (const TensorInfo& tensor : tensors) {
    const std::string_view name = tensor.name;
    const std::size_t dot = name.rfind('.');
    if (dot != std::string_view::npos) add(name.substr(0, dot), name.substr(dot + 1), tensor);
  }
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

std::unique_ptr<quant::PackedSite> load_packed(const quant::MethodEntry& method,
                                               const PartIndex& parts, const SiteSpec& site,
                                               const std::string& prefix) {
  const PartReader shared(parts, prefix + site.name);
  std::vector<PartReader> readers;
  for (const std::string& linear : site.linears) readers.emplace_back(parts, prefix + linear);
  std::vector<const PartSource*> sources;
  for (const PartReader& reader : readers) sources.push_back(&reader);
  return method.load(shared, sources);
}

}  // namespace tender::model
