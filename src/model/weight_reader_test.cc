// What is refused when the tensors of a directory are not those of its configuration
// (checkpoints 8.2 H4, H7, H8).

#include <algorithm>

#include "model/test_support.h"

namespace tender::model {
namespace {

Error refusal_of(const ModelFolder& model) {
  const auto checkpoint = io::open_checkpoint(model.write());
  const ModelSpec spec = read_spec(*checkpoint);
  return error_of([&] { WeightReader(*checkpoint, spec); });
}

TEST(WeightReader, MissingTensorsAreListed) {
  ModelFolder model("llama_gqa");
  model.tensors.erase("model.layers.0.mlp.up_proj.weight");
  model.tensors.erase("model.norm.weight");
  const Error error = refusal_of(model);
  EXPECT_EQ(error.code(), "HF_TENSOR_MISSING");
  EXPECT_NE(std::string(error.what()).find("model.layers.0.mlp.up_proj.weight"), std::string::npos);
  EXPECT_NE(std::string(error.what()).find("model.norm.weight"), std::string::npos);
}

TEST(WeightReader, AHeadThatIsNotTiedMustBeThere) {
  ModelFolder model("llama_gqa");
  model.tensors.erase("lm_head.weight");
  const Error error = refusal_of(model);
  EXPECT_EQ(error.code(), "HF_TENSOR_MISSING");
  EXPECT_NE(error.details().hint.find("tie_word_embeddings"), std::string::npos);
}

TEST(WeightReader, UnexpectedTensorsAreRefusedAndBuffersAreNot) {
  ModelFolder model("llama_gqa");
  model.put("model.layers.0.self_attn.rotary_emb.inv_freq", {3}, {1, 1, 1});
  EXPECT_NE(load(model.write()), nullptr);
  model.put("model.layers.2.mlp.up_proj.weight", {1, 1}, {1});
  const Error error = refusal_of(model);
  EXPECT_EQ(error.code(), "HF_TENSOR_EXTRA");
  EXPECT_NE(std::string(error.what()).find("model.layers.2.mlp.up_proj.weight"), std::string::npos);
}

TEST(WeightReader, AShapeThatTheConfigurationDoesNotDemandIsRefusedWithBoth) {
  ModelFolder model("llama_gqa");
  model.put("model.layers.1.self_attn.k_proj.weight", {12, 19}, std::vector<float>(12 * 19));
  const Error error = refusal_of(model);
  EXPECT_EQ(error.code(), "HF_TENSOR_SHAPE");
  EXPECT_EQ(error.details().found, "[12, 19]");
  EXPECT_EQ(error.details().expected, "[12, 20]");
}

TEST(WeightReader, AnEmbeddingOfOtherRowsThanTheVocabularyHasItsOwnCode) {
  ModelFolder model("llama_gqa");
  model.config["vocab_size"] = 60;
  EXPECT_EQ(refusal_of(model).code(), "HF_VOCAB_ROWS");
}

TEST(WeightReader, IntegersWhereFloatsAreDemandedAreRefused) {
  ModelFolder model("llama_gqa");
  model.tensors["model.norm.weight"] = {"I32", {20}, std::string(80, '\0')};
  const Error error = refusal_of(model);
  EXPECT_EQ(error.code(), "HF_TENSOR_DTYPE");
  EXPECT_EQ(error.details().found, "I32");
}

TEST(WeightReader, ATiedHeadMayStandThereOnlyIfItIsTheEmbedding) {
  ModelFolder model("llama3_tied");
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"];
  EXPECT_NE(load(model.write()), nullptr);
  model.tensors["lm_head.weight"].bytes[1] ^= 1;
  EXPECT_EQ(refusal_of(model).code(), "HF_TIED_CONFLICT");
}

TEST(WeightReader, ATiedHeadInAnotherTypeIsComparedByValue) {
  ModelFolder model("qwen2");  // its embedding is bfloat16
  const auto checkpoint = io::open_checkpoint(golden_path("qwen2"));
  const TensorInfo& embedding = *checkpoint->tensors().find("model.embed_tokens.weight");
  std::vector<float> values(embedding.elements());
  io::to_float32(embedding, values);
  model.put("lm_head.weight", embedding.shape, values);
  EXPECT_NE(load(model.write()), nullptr);
  values.back() += 1;
  model.put("lm_head.weight", embedding.shape, values);
  EXPECT_EQ(refusal_of(model).code(), "HF_TIED_CONFLICT");
}

TEST(WeightReader, QuantizationThatIsNotOursIsRefusedByName) {
  for (const char* method : {"gptq", "compressed-tensors", "bitsandbytes"}) {
    ModelFolder model("llama_gqa");
    model.config["quantization_config"] = {{"quant_method", method}, {"bits", 4}};
    const Error error = refusal_of(model);
    EXPECT_EQ(error.code(), "QC_METHOD");
    EXPECT_NE(std::string(error.what()).find("tender"), std::string::npos) << error.what();
  }
}

Json quantization() {
  return {{"quant_method", "rtn"}, {"format_version", 1}, {"options", Json::object()}};
}

TEST(WeightReader, AnotherFormatVersionIsRefusedWithBoth) {
  for (const Json& version : {Json(2), Json("1"), Json()}) {
    ModelFolder model("llama_gqa");
    model.config["quantization_config"] = quantization();
    model.config["quantization_config"]["format_version"] = version;
    EXPECT_EQ(refusal_of(model).code(), "CK_VERSION") << version;
  }
}

TEST(WeightReader, DamagedQuantizationSettingsAreRefused) {
  const std::vector<std::pair<const char*, Json>> bad = {
      {"options", {{"weight_bits", 99}}},
      {"options", {{"no_such_option", 1}}},
      {"options", "none"},
      {"layers", {{"model.layers.9.mlp.up_proj", {{"method", "rtn"}}}}},
      {"layers", Json::array({1})},
      {"layers", {{"model.layers.0.self_attn.q_proj", {{"method", "rtn"}}}}},  // q without k and v
      {"ignore", {"model.layers.0.mlp.no_proj"}},
      {"ignore", {{"lm_head", true}}}};
  for (const auto& [key, value] : bad) {
    ModelFolder model("llama_gqa");
    model.config["quantization_config"] = quantization();
    model.config["quantization_config"][key] = value;
    EXPECT_EQ(refusal_of(model).code(), "QC_KEY") << key << ": " << value;
  }
}

TEST(WeightReader, FloatWeightsOfLayersThatShouldBeQuantizedAreUnexpected) {
  ModelFolder model("llama_gqa");
  model.config["quantization_config"] = quantization();
  EXPECT_EQ(refusal_of(model).code(), "HF_TENSOR_EXTRA");
}

TEST(WeightReader, IgnoredSitesStayFloat) {
  ModelFolder model("llama_gqa");
  const ModelSpec spec = read_spec(*io::open_checkpoint(model.write()));
  Json names = {"lm_head"};
  for (const SiteSpec& site : spec.sites) names.push_back(site.name);
  model.config["quantization_config"] = quantization();
  model.config["quantization_config"]["ignore"] = names;
  const auto checkpoint = io::open_checkpoint(model.write());
  const WeightReader weights(*checkpoint, spec);
  EXPECT_FALSE(weights.is_quantized(spec.sites[0]));
  EXPECT_NE(load(model.folder->path()), nullptr);
}

TEST(WeightReader, PartsThatAreNotThereAreNamed) {
  ModelFolder model("llama_gqa");
  const ModelSpec spec = read_spec(*io::open_checkpoint(model.write()));
  for (const SiteSpec& site : spec.sites)
    for (const std::string& linear : site.linears) model.tensors.erase(linear + ".weight");
  model.config["quantization_config"] = quantization();
  const Error error = error_of([&] { load(model.write()); });
  EXPECT_EQ(error.code(), "CK_PART_MISSING");
  EXPECT_NE(std::string(error.what()).find("model.layers.0.self_attn"), std::string::npos)
      << error.what();
}

}  // namespace
}  // namespace tender::model
