#include "tests/support/tiny_model.h"

#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "tests/support/test_support.h"

namespace tender::testing {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::array<std::pair<const char*, const char*>, 16> kMerges = {{
    {"t", "h"},
    {"\u0120", "a"},
    {"th", "e"},
    {"i", "n"},
    {"r", "e"},
    {"o", "n"},
    {"\u0120", "the"},
    {"e", "r"},
    {"\u0120", "s"},
    {"n", "d"},
    {"\u0120a", "nd"},
    {"in", "g"},
    {"o", "u"},
    {"e", "n"},
    {"\u0120", "of"},
    {"o", "f"},
}};

/// The character that stands for a byte in byte-level BPE: itself where it can be printed, else
/// U+0100 on.
std::string byte_character(unsigned byte) {
  const auto printable = [](unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  char32_t code = byte;
  if (!printable(byte)) {
    code = 0x100;
    for (unsigned before = 0; before < byte; ++before) code += printable(before) ? 0U : 1U;
  }
  std::string text;
  append_utf8(code, text);
  return text;
}

Json added_token(std::size_t id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json tokenizer_json(const TinyModel& model) {
  Json vocabulary = Json::object();
  Json merges = Json::array();
  for (unsigned byte = 0; byte < 256; ++byte) vocabulary[byte_character(byte)] = byte;
  for (const auto& [left, right] : kMerges) {
    vocabulary[std::string(left) + right] = vocabulary.size();
    merges.push_back(std::string(left) + " " + right);
  }
  const std::size_t begin = vocabulary.size();
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = {added_token(begin, "<|begin|>"), added_token(begin + 1, "<|end|>")};
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = byte_level;
  json["post_processor"] = byte_level;
  if (model.adds_bos) {
    const Json first = {{"SpecialToken", {{"id", "<|begin|>"}, {"type_id", 0}}}};
    const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    const Json b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
    json["post_processor"] = {{"type", "TemplateProcessing"}};
    json["post_processor"]["single"] = {first, a};
    json["post_processor"]["pair"] = {first, a, b};
    json["post_processor"]["special_tokens"]["<|begin|>"] = {
        {"id", "<|begin|>"}, {"ids", Json::array({begin})}, {"tokens", Json::array({"<|begin|>"})}};
  }
  json["decoder"] = byte_level;
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false}};
  json["model"]["vocab"] = std::move(vocabulary);
  json["model"]["merges"] = std::move(merges);
  return json;
}

Json config_json(const TinyModel& model) {
  return {{"architectures", Json::array({"LlamaForCausalLM"})},
          {"attention_bias", false},
          {"bos_token_id", kTinyVocabulary - 2},
          {"eos_token_id", kTinyVocabulary - 1},
          {"hidden_act", "silu"},
          {"hidden_size", model.width},
          {"initializer_range", 0.02},
          {"intermediate_size", model.intermediate},
          {"max_position_embeddings", model.context},
          {"mlp_bias", false},
          {"model_type", "llama"},
          {"num_attention_heads", model.heads},
          {"num_hidden_layers", model.layers},
          {"num_key_value_heads", model.kv_heads},
          {"rms_norm_eps", 1e-5},
          {"rope_scaling", nullptr},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", model.tied_head},
          {"torch_dtype", model.dtype == "F32"   ? "float32"
                          : model.dtype == "F16" ? "float16"
                                                 : "bfloat16"},
          {"use_cache", true},
          {"vocab_size", kTinyVocabulary}};
}

/// Collects tensors as a safetensors file holds them.
class Tensors {
 public:
  explicit Tensors(const TinyModel& model) : model_(model) {}

  /// Independent numbers of so large a spread; each tensor has its own stream of the seed.
  void matrix(const std::string& name, std::size_t out, std::size_t in, float spread) {
    Rng rng(model_.seed, name);
    begin(name, model_.dtype, {out, in});
    for (std::size_t i = 0; i < out * in; ++i) put(model_.dtype, spread * rng.normal());
    end();
  }

  /// Gains near one, with three loud channels where `loudness` is above one.
  void gains(const std::string& name, float loudness) {
    Rng rng(model_.seed, name);
    std::vector<float> values(model_.width);
    for (float& each : values) each = 1.0F + 0.1F * rng.normal();
    for (int i = 0; i < 3; ++i) values[rng.below(values.size())] *= loudness;
    begin(name, "F32", {values.size()});
    for (const float each : values) put("F32", each);
    end();
  }

  std::string file() const {
    std::string header = header_.dump();
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = header.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    return file + header + data_;
  }

 private:
  void begin(const std::string& name, const std::string& dtype,
             const std::vector<std::size_t>& shape) {
    name_ = name;
    header_[name] = {{"dtype", dtype}, {"shape", shape}};
    begin_ = data_.size();
  }
  void end() { header_[name_]["data_offsets"] = {begin_, data_.size()}; }

  template <class T>
  void append(T value) {
    std::array<char, sizeof(T)> bytes;
    std::memcpy(bytes.data(), &value, sizeof value);
    data_.append(bytes.data(), bytes.size());
  }
  void put(const std::string& dtype, float value) {
    if (dtype == "F32")
      append(value);
    else
      append(dtype == "F16" ? float_to_half(value) : float_to_bf16(value));
  }

  const TinyModel& model_;
  Json header_ = {{"__metadata__", {{"format", "pt"}}}};
  std::string data_;
  std::string name_;
  std::size_t begin_ = 0;
};

std::string weights(const TinyModel& model) {
  Tensors tensors(model);
  const std::size_t head_width = model.width / model.heads;
  const float of_width = 1.0F / std::sqrt(static_cast<float>(model.width));
  const float of_intermediate = 1.0F / std::sqrt(static_cast<float>(model.intermediate));
  tensors.matrix("model.embed_tokens.weight", kTinyVocabulary, model.width, 0.25F);
  for (std::size_t l = 0; l < model.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l);
    tensors.gains(layer + ".input_layernorm.weight", model.loudness);
    tensors.matrix(layer + ".self_attn.q_proj.weight", model.heads * head_width, model.width,
                   of_width);
    tensors.matrix(layer + ".self_attn.k_proj.weight", model.kv_heads * head_width, model.width,
                   of_width);
    tensors.matrix(layer + ".self_attn.v_proj.weight", model.kv_heads * head_width, model.width,
                   of_width);
    tensors.matrix(layer + ".self_attn.o_proj.weight", model.width, model.heads * head_width,
                   of_width);
    tensors.gains(layer + ".post_attention_layernorm.weight", model.loudness);
    tensors.matrix(layer + ".mlp.gate_proj.weight", model.intermediate, model.width, of_width);
    tensors.matrix(layer + ".mlp.up_proj.weight", model.intermediate, model.width, of_width);
    tensors.matrix(layer + ".mlp.down_proj.weight", model.width, model.intermediate,
                   of_intermediate);
  }
  tensors.gains("model.norm.weight", 1.0F);
  if (!model.tied_head) tensors.matrix("lm_head.weight", kTinyVocabulary, model.width, of_width);
  return tensors.file();
}

}  // namespace

void write_tiny_model(const fs::path& directory, const TinyModel& model) {
  fs::create_directories(directory);
  write_text(directory / "config.json", config_json(model).dump(2) + "\n");
  const Json generation = {{"bos_token_id", kTinyVocabulary - 2},
                           {"eos_token_id", kTinyVocabulary - 1}};
  write_text(directory / "generation_config.json", generation.dump(2) + "\n");
  write_text(directory / "model.safetensors", weights(model));
  write_text(directory / "tokenizer.json", tokenizer_json(model).dump(2) + "\n");
  const Json tokenizer = {{"bos_token", "<|begin|>"},
                          {"eos_token", "<|end|>"},
                          {"clean_up_tokenization_spaces", false},
                          {"model_max_length", model.context},
                          {"tokenizer_class", "PreTrainedTokenizerFast"}};
  write_text(directory / "tokenizer_config.json", tokenizer.dump(2) + "\n");
}

std::string tiny_text(std::size_t bytes, std::uint64_t seed) {
  constexpr std::array kWords = {"the",   "king", "and",   "of",    "a",     "river", "stone",
                                 "in",    "he",   "said",  "when",  "there", "under", "light",
                                 "day",   "over", "men",   "thing", "on",    "house", "water",
                                 "their", "sons", "earth", "went",  "great"};
  Rng rng(seed, "tiny text");
  std::string text;
  while (text.size() < bytes) {
    std::string sentence;
    for (std::uint64_t word = 0, words = 4 + rng.below(10); word < words; ++word)
      sentence += (word > 0 ? " " : "") + std::string(kWords[rng.below(kWords.size())]);
    sentence.front() = static_cast<char>(sentence.front() - 'a' + 'A');
    text += sentence + (rng.below(6) == 0 ? ".\n" : ". ");
  }
  return text;
}

}  // namespace tender::testing
