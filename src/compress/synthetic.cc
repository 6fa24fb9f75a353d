#include "compress/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/half.h"
#include "base/rng.h"
#include "compress/memory_checkpoint.h"
#include "model/model.h"
#include "quant/formats/blocks.h"

namespace tender::compress {
namespace {

struct SyntheticShape {
  std::string_view name;
  std::size_t layers, width, heads, kv_heads, intermediate, vocabulary, context;
  bool tied;
};

constexpr std::array kShapes = {
    SyntheticShape{"llama-1b", 16, 2048, 32, 8, 8192, 32000, 4096, true},
    SyntheticShape{"llama-7b-4l", 4, 4096, 32, 32, 11008, 32000, 4096, false},
    SyntheticShape{"smollm2-135m", 30, 576, 9, 3, 1536, 49152, 8192, true},
};

std::string config_of(const SyntheticShape& shape) {
  return Json{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", shape.width},
              {"intermediate_size", shape.intermediate},
              {"num_hidden_layers", shape.layers},
              {"num_attention_heads", shape.heads},
              {"num_key_value_heads", shape.kv_heads},
              {"max_position_embeddings", shape.context},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", 10000.0},
              {"tie_word_embeddings", shape.tied},
              {"vocab_size", shape.vocabulary}}
      .dump();
}

/// The configuration alone, for what an architecture demands.
class ConfigOnly : public MemoryCheckpoint {
 public:
  explicit ConfigOnly(const std::string& config) : MemoryCheckpoint(config, {}) {}
};

using Put = std::function<void(std::span<const std::byte>)>;

void put_half_row(Rng& rng, std::size_t in, std::vector<std::byte>& row) {
  row.resize(in * sizeof(std::uint16_t));
  const float spread = 1 / std::sqrt(static_cast<float>(in));
  for (std::size_t k = 0; k < in; ++k) {
    const std::uint16_t half = float_to_half(spread * rng.normal());
    std::memcpy(row.data() + k * sizeof half, &half, sizeof half);
  }
}

/// Any codes, under a scale that makes their weights about as large as those of a trained matrix.
void put_block_row(const quant::BlockType& type, Rng& rng, std::size_t in,
                   std::vector<std::byte>& row) {
  quant::BlockRow blocks{std::vector<std::uint8_t>(in), {}};
  for (std::size_t k = 0; k < in; k += 8) {
    const std::uint64_t bits = rng.next();
    for (std::size_t i = 0; i < 8 && k + i < in; ++i)
      blocks.codes[k + i] = static_cast<std::uint8_t>(bits >> 8 * i & ((1U << type.bits) - 1));
  }
  const float largest = type.bits == 8 ? 127.0F : 8.0F;
  const float scale =
      half_to_float(float_to_half(2 / (largest * std::sqrt(static_cast<float>(in)))));
  const float minimum = type.form == kernels::BlockScales::halves_and_minima ? -7.5F * scale : 0.0F;
  blocks.scales.assign((in + 31) / 32, {scale, half_to_float(float_to_half(minimum)), 1, 0});
  row.resize(quant::block_row_bytes(type, in));
  quant::write_block_row(type, blocks, row);
}

io::TensorToWrite tensor_of(const model::TensorSpec& spec, DType type, std::uint64_t seed) {
  if (spec.shape.size() == 1)
    return {spec.name, DType::f32, spec.shape, [elements = spec.shape[0]](const Put& put) {
              const std::vector<float> ones(elements, 1.0F);
              put(std::as_bytes(std::span(ones)));
            }};
  return {spec.name, type, spec.shape, [spec, type, seed](const Put& put) {
            Rng rng(seed, spec.name);
            std::vector<std::byte> row;
            for (std::uint64_t n = 0; n < spec.shape[0]; ++n) {
              if (const quant::BlockType* blocks = quant::find_block_type(type))
                put_block_row(*blocks, rng, spec.shape[1], row);
              else
                put_half_row(rng, spec.shape[1], row);
              put(row);
            }
          }};
}

[[noreturn]] void refuse(const char* item, std::string_view found, const std::string& expected) {
  fail(ErrorKind::invalid_argument,
       {.code = "SYNTHETIC",
        .item = item,
        .found = std::string(found),
        .expected = expected,
        .hint = "tender bench --help lists what there is"},
       "{} {}: expected one of {}", item, quote(found), expected);
}

}  // namespace

std::vector<std::string_view> synthetic_shapes() {
  std::vector<std::string_view> names;
  for (const SyntheticShape& shape : kShapes) names.push_back(shape.name);
  return names;
}

std::unique_ptr<io::Checkpoint> synthetic_checkpoint(std::string_view name,
                                                     std::string_view weight_type,
                                                     std::uint64_t seed) {
  const auto shape = std::ranges::find(kShapes, name, &SyntheticShape::name);
  if (shape == kShapes.end()) {
    std::string names;
    for (const SyntheticShape& each : kShapes)
      names += (names.empty() ? "" : ", ") + std::string(each.name);
    refuse("--synthetic", name, names);
  }
  const auto types = all_dtypes();
  const auto found = std::ranges::find(types, weight_type, &DTypeTraits::name);
  const quant::BlockType* blocks =
      found == types.end() ? nullptr : quant::find_block_type(found->type);
  if (weight_type != to_string(DType::f16) && (blocks == nullptr || !quant::is_written(*blocks)))
    refuse("--weight-type", weight_type, "F16, Q8_0, Q4_0, Q4_1");
  const DType type = found->type;
  const std::string config = config_of(*shape);
  const model::ModelSpec spec = model::read_spec(ConfigOnly(config));
  std::vector<io::TensorToWrite> tensors;
  for (const model::TensorSpec& tensor : spec.tensors)
    if (!tensor.optional) tensors.push_back(tensor_of(tensor, type, seed));
  return std::make_unique<MemoryCheckpoint>(config, tensors);
}

}  // namespace tender::compress
