#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "io/checkpoint.h"
#include "model/model.h"
#include "quant/formats/blocks.h"

namespace tender::model {
std::vector<std::string> matrix_names(const SiteSpec& site, const std::string& head_weight) {
  if (site.name == kHeadSite) return {head_weight};
  std::vector<std::string> names;
  for (const std::string& linear : site.linears) names.push_back(linear + ".weight");
  return names;
}

std::string why_not_packed(const std::vector<DType>& types) {
  std::set<std::string_view> others;
  for (const DType type : types)
    if (quant::find_block_type(type) == nullptr) others.insert(to_string(type));
  std::string names;
  for (const std::string_view name : others)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  if (names.empty()) return "";
  return fmt::format("{} {} not multiplied as stored", names, others.size() == 1 ? "is" : "are");
}

std::vector<BlockSite> block_sites(const io::Checkpoint& checkpoint, const ModelSpec& spec) {
  const TensorSource& tensors = checkpoint.tensors();
  if (std::ranges::none_of(tensors.tensors(), [](const TensorInfo& tensor) {
        return quant::find_block_type(tensor.type) != nullptr;
      }))
    return {};
  std::map<std::string_view, std::string_view> stored;
  for (const TensorSpec& tensor : spec.tensors)
    stored[tensor.name] = checkpoint.gguf() != nullptr ? tensor.gguf : tensor.name;
  std::vector<BlockSite> sites;
  const auto add = [&](const SiteSpec& site) {
    std::vector<DType> types;
    for (const std::string& name : matrix_names(site, spec.head_weight)) {
      const TensorInfo* tensor = tensors.find(stored[name]);
      if (tensor == nullptr) return sites.push_back({site.name, "a tensor of it is missing"});
      types.push_back(tensor->type);
    }
    sites.push_back({site.name, why_not_packed(types)});
  };
  for (const SiteSpec& site : spec.sites) add(site);
  add(spec.head);
  return sites;
}

}  // namespace tender::model
