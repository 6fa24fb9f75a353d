#include "compress/stored_parts.h"

#include <algorithm>
#include <utility>

#include "base/contracts.h"

namespace tender::compress {

void StoredParts::Sink::put(std::string_view name, DType type, Shape shape,
                            std::span<const std::byte> bytes) {
  require(name != "weight" && name != "bias" && name.find('.') == std::string_view::npos,
          "a part's name is none of a float tensor and has no dot");
  store_.parts_.push_back(
      {owner_ + "." + std::string(name), type, std::move(shape), {bytes.begin(), bytes.end()}});
  bytes_ += bytes.size();
}

void StoredParts::list(std::vector<io::TensorToWrite>& tensors) const {
  for (const Stored& part : parts_)
    tensors.push_back(
        {part.name, part.type, part.shape, [&part](const auto& put) { put(part.bytes); }});
}

std::vector<std::size_t> save_site(const quant::PackedSite& packed, const model::SiteSpec& site,
                                   StoredParts& parts, const std::string& prefix) {
  StoredParts::Sink shared(parts, prefix + site.name);
  std::vector<StoredParts::Sink> sinks;
  for (const std::string& linear : site.linears) sinks.emplace_back(parts, prefix + linear);
  std::vector<PartSink*> pointers;
  for (StoredParts::Sink& sink : sinks) pointers.push_back(&sink);
  packed.save(shared, pointers);
  std::vector<std::size_t> bytes;
  for (const StoredParts::Sink& sink : sinks) bytes.push_back(sink.bytes());
  return bytes;
}

}  // namespace tender::compress
