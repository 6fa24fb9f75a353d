#include "model/blocks/rope_config.h"

#include <string>

namespace tender::model {
namespace {

void check_whole_heads(const HfConfig& config) {
  if (config.number("partial_rotary_factor", 0, 1, 1) != 1.0)
    config.unsupported("partial_rotary_factor", "rotary embedding of whole heads");
}

/// Reads the scaling of one type into `rope`.
void read_scaling(const HfConfig& scaling, const std::string& type, kernels::RopeParameters& rope) {
  using kernels::RopeScaling;
  if (type == "default") return;
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = scaling.number("factor", 1, 1e6);
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::llama3;
    rope.factor = scaling.number("factor", 1, 1e6);
    rope.low_frequency_factor = scaling.number("low_freq_factor", 1e-3, 1e6);
    rope.high_frequency_factor = scaling.number("high_freq_factor", 1e-3, 1e6);
    if (!(rope.high_frequency_factor > rope.low_frequency_factor))
      scaling.refuse("high_freq_factor", "more than low_freq_factor");
    rope.original_context =
        static_cast<double>(scaling.size("original_max_position_embeddings", 1, Caps::context));
  } else if (type == "longrope") {
    const auto divisors = scaling.numbers("long_factor", rope.rotary_width / 2, 1e-6, 1e6);
    if (scaling.numbers("short_factor", rope.rotary_width / 2, 1e-6, 1e6) != divisors)
      scaling.unsupported("short_factor", "the same list as long_factor");
    if (scaling.number("attention_factor", 0, 1e6, 0) != 1.0)
      scaling.unsupported("attention_factor", "attention_factor 1");
    for (const double divisor : divisors)
      rope.frequency_factors.push_back(static_cast<float>(divisor));
  } else {
    scaling.unsupported(scaling.has("rope_type") ? "rope_type" : "type",
                        "rotary scaling of type default, linear or llama3");
  }
}

}  // namespace

kernels::RopeParameters read_rope(const HfConfig& config, std::size_t head_width) {
  check_whole_heads(config);
  if (config.flag("rope_interleaved", false))
    config.unsupported("rope_interleaved", "rotary pairs of two halves (rope_interleaved false)");
  const auto parameters = config.part("rope_parameters");
  const auto scaling = parameters ? parameters : config.part("rope_scaling");
  const HfConfig& holder = parameters && parameters->has("rope_theta") ? *parameters : config;
  kernels::RopeParameters rope;
  rope.theta = holder.number("rope_theta", 1, 1e12, 10000);
  rope.rotary_width = head_width;
  if (!scaling) return rope;
  check_whole_heads(*scaling);
  read_scaling(*scaling, scaling->text("rope_type", scaling->text("type", "default")), rope);
  return rope;
}

}  // namespace tender::model
