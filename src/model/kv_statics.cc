#include "model/kv_statics.h"

#include <span>

#include "base/contracts.h"
#include "quant/parts.h"

namespace tender::model {
namespace {

Shape shape_of(const ModelInfo& info) { return {info.kv_heads, info.head_width}; }

std::vector<std::uint8_t> read_groups(const PartSource& source, std::string_view name,
                                      const Shape& shape) {
  const auto groups = quant::values_of<std::uint8_t>(source.get(name, DType::u8, shape));
  for (std::size_t i = 0; i < groups.size(); ++i)
    quant::check_number(source, name, "group " + std::to_string(i), groups[i], 0,
                        kernels::KvStatics::kMaxGroup);
  return groups;
}

}  // namespace

std::string kv_owner(const ModelSpec& spec, std::size_t layer) {
  const std::string& first = spec.sites[spec.sites_of(layer).first].name;
  const std::size_t dot = first.rfind('.');
  require(dot != std::string::npos, "the first site of a layer stands within its attention");
  return first.substr(0, dot) + ".kv";
}

void save_kv_statics(const kernels::KvStatics& statics, const ModelInfo& info, PartSink& sink) {
  const Shape shape = shape_of(info);
  sink.put("key_bias", DType::f32, shape, std::span<const float>(statics.key_bias));
  sink.put("key_groups", DType::u8, shape, std::span<const std::uint8_t>(statics.key_groups));
  sink.put("value_groups", DType::u8, shape, std::span<const std::uint8_t>(statics.value_groups));
}

kernels::KvStatics read_kv_statics(const PartSource& source, const ModelInfo& info) {
  const Shape shape = shape_of(info);
  kernels::KvStatics statics;
  statics.key_bias = quant::values_of<float>(source.get("key_bias", DType::f32, shape));
  quant::check_finite(source, "key_bias", statics.key_bias);
  statics.key_groups = read_groups(source, "key_groups", shape);
  statics.value_groups = read_groups(source, "value_groups", shape);
  return statics;
}

}  // namespace tender::model
