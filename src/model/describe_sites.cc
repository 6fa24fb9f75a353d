#include "model/model.h"
#include "model/part_reader.h"
#include "model/quantization_config.h"
#include "quant/registry.h"

namespace tender::model {

std::vector<SiteDescription> describe_sites(const io::Checkpoint& checkpoint,
                                            const ModelSpec& spec) {
  if (checkpoint.config() == nullptr) return {};
  const auto quantized = read_quantization_config(*checkpoint.config(), spec);
  PartIndex parts;
  for (const TensorInfo& tensor : checkpoint.tensors().tensors()) {
    const std::size_t dot = tensor.name.rfind('.');
    if (dot == std::string::npos) continue;
    const std::string_view owner = std::string_view(tensor.name).substr(0, dot);
    if (quantized.contains(std::string(owner)))
      parts.add(owner, std::string_view(tensor.name).substr(dot + 1), tensor);
  }
  std::vector<SiteDescription> sites;
  for (const SiteSpec& site : spec.sites)
    if (const auto found = quantized.find(site.name); found != quantized.end())
      sites.push_back({site.name, found->second.method,
                       quant::method_of_checkpoint(found->second.method, "config.json")
                           .describe(PartReader(parts, site.name))});
  if (const auto found = quantized.find(spec.head.name); found != quantized.end())
    sites.push_back({spec.head.name, found->second.method,
                     quant::method_of_checkpoint(found->second.method, "config.json")
                         .describe(PartReader(parts, spec.head.name))});
  return sites;
}

}  // namespace tender::model
