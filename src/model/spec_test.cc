// Configurations, good and bad, of Hugging Face directories and GGUF files (checkpoints 8.2 H2,
// H10; 8.3 G8, G10).

#include <algorithm>
#include <functional>

#include "io/test_files.h"
#include "model/test_support.h"

namespace tender::model {
namespace {

ModelSpec spec_of(const ModelFolder& model) {
  return read_spec(*io::open_checkpoint(model.write()));
}

Error refusal_of(const std::string& golden, const std::function<void(Json&)>& damage) {
  ModelFolder model(golden);
  damage(model.config);
  return error_of([&] { spec_of(model); });
}

/// The golden Llama with one key changed. (clang 14 does not let a lambda use a structured
/// binding.)
Error refusal_with(const char* key, const Json& value) {
  return refusal_of("llama_gqa", [&](Json& config) { config[key] = value; });
}

TEST(Spec, NamesTheSitesOfALlama) {
  const ModelSpec spec = spec_of(ModelFolder("llama_gqa"));
  ASSERT_EQ(spec.sites.size(), 8U);
  EXPECT_EQ(spec.sites[4].name, "model.layers.1.self_attn.qkv");
  EXPECT_EQ(spec.sites[4].linears[2], "model.layers.1.self_attn.v_proj");
  EXPECT_EQ(spec.sites[4].shape.outs, (std::vector<std::size_t>{24, 12, 12}));
  EXPECT_TRUE(spec.sites[4].shape.centre);
  EXPECT_EQ(spec.sites[5].name, "model.layers.1.self_attn.o_proj");
  EXPECT_FALSE(spec.sites[5].shape.centre);
  EXPECT_EQ(spec.sites[6].name, "model.layers.1.mlp.gate_up");
  EXPECT_TRUE(spec.sites[6].shape.centre);
  EXPECT_EQ(spec.sites[7].name, "model.layers.1.mlp.down_proj");
  EXPECT_FALSE(spec.sites[7].shape.centre);
  EXPECT_EQ(spec.info.kv_heads, 2U);
  EXPECT_EQ(spec.info.head_width, 6U);
}

TEST(Spec, NamesTheSitesOfAnOpt) {
  const ModelSpec spec = spec_of(ModelFolder("opt_pre"));
  ASSERT_EQ(spec.sites.size(), 8U);
  EXPECT_EQ(spec.sites[0].name, "model.decoder.layers.0.self_attn.qkv");
  EXPECT_EQ(spec.sites[1].name, "model.decoder.layers.0.self_attn.out_proj");
  EXPECT_EQ(spec.sites[2].name, "model.decoder.layers.0.fc1");
  EXPECT_EQ(spec.sites[3].name, "model.decoder.layers.0.fc2");
  for (const std::size_t centred : {0U, 1U, 2U}) EXPECT_TRUE(spec.sites[centred].shape.centre);
  EXPECT_FALSE(spec.sites[3].shape.centre);
  EXPECT_TRUE(spec.sites[3].shape.nonnegative);
}

TEST(Spec, CountsEachStoredNumberOnce) {
  for (const char* name : kGoldenModels) {
    const ModelFolder model(name);
    std::uint64_t stored = 0;
    for (const auto& [tensor, value] : model.tensors)
      stored += value.bytes.size() / (value.type == "F32" ? 4 : 2);
    EXPECT_EQ(spec_of(model).info.parameters, stored) << name;
  }
}

TEST(Spec, BadHyperParametersAreRefusedByNameValueAndRange) {
  const std::vector<std::pair<const char*, Json>> bad = {{"num_attention_heads", 0},
                                                         {"num_attention_heads", -4},
                                                         {"num_attention_heads", 1e30},
                                                         {"num_attention_heads", "4"},
                                                         {"num_attention_heads", nullptr},
                                                         {"num_attention_heads", 4.0},
                                                         {"num_hidden_layers", 4097},
                                                         {"num_hidden_layers", 0},
                                                         {"vocab_size", (1 << 24) + 1},
                                                         {"hidden_size", 0},
                                                         {"hidden_size", 1 << 21},
                                                         {"num_key_value_heads", 3},
                                                         {"rms_norm_eps", -1},
                                                         {"head_dim", 7},
                                                         {"head_dim", 8192},
                                                         {"intermediate_size", "wide"},
                                                         {"tie_word_embeddings", 1},
                                                         {"hidden_act", 3},
                                                         {"rope_parameters", "default"},
                                                         {"max_position_embeddings", 0}};
  for (const auto& [key, value] : bad) {
    const Error error = refusal_with(key, value);
    EXPECT_EQ(error.code(), "HF_PARAM") << key << " = " << value;
    EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
    EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
    EXPECT_FALSE(error.details().expected.empty());
    EXPECT_FALSE(error.details().hint.empty());
  }
}

TEST(Spec, AWidthThatHeadsDoNotDivideIsRefused) {
  const Error error = refusal_of("llama_gqa", [](Json& config) {
    config.erase("head_dim");
    config["hidden_size"] = 22;
  });
  EXPECT_EQ(error.code(), "HF_PARAM");
  EXPECT_EQ(refusal_of("opt_pre", [](Json& config) { config["num_attention_heads"] = 3; }).code(),
            "HF_PARAM");
}

TEST(Spec, AMissingKeyIsRefused) {
  for (const char* key : {"num_attention_heads", "hidden_size", "vocab_size", "num_hidden_layers",
                          "intermediate_size"}) {
    const Error error = refusal_of("mistral", [&](Json& config) { config.erase(key); });
    EXPECT_EQ(error.code(), "HF_PARAM");
    EXPECT_EQ(error.details().found, "missing");
  }
}

TEST(Spec, SettingsThatThisBuildCannotRunAreRefusedByName) {
  const std::vector<std::pair<const char*, Json>> foreign = {
      {"hidden_act", "gelu"},
      {"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 10000.0}, {"factor", 4.0}}},
      {"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}},
      {"partial_rotary_factor", 0.25}};
  for (const auto& [key, value] : foreign) {
    const Error error = refusal_with(key, value);
    EXPECT_EQ(error.code(), "ARCH_FEATURE") << key << " = " << value;
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
  }
  EXPECT_EQ(
      refusal_of("opt_pre", [](Json& config) { config["activation_function"] = "gelu"; }).code(),
      "ARCH_FEATURE");
}

TEST(Spec, BothSpellingsOfRotarySettingsMeanTheSame) {
  ModelFolder old("llama3_tied");
  ModelFolder recent("llama3_tied");
  recent.config["rope_parameters"] = recent.config["rope_scaling"];
  recent.config["rope_parameters"]["rope_theta"] = recent.config["rope_theta"];
  recent.config.erase("rope_scaling");
  recent.config.erase("rope_theta");
  const std::vector<TokenId> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_TRUE(same_bits(run_model(*load(old.write()), ids), run_model(*load(recent.write()), ids)));
}

TEST(Spec, UnknownArchitecturesAreRefusedWithWhatWasFoundAndWhatIsKnown) {
  const Error error = refusal_of("llama_gqa", [](Json& config) {
    config["model_type"] = "mamba2";
    config["architectures"] = {"Mamba2ForCausalLM"};
  });
  EXPECT_EQ(error.code(), "ARCH_UNSUPPORTED");
  EXPECT_NE(error.details().found.find("mamba2"), std::string::npos);
  EXPECT_NE(error.details().expected.find("mistral"), std::string::npos);
  EXPECT_EQ(refusal_of("llama_gqa",
                       [](Json& c) { c["architectures"] = {"LlamaForSequenceClassification"}; })
                .code(),
            "ARCH_UNSUPPORTED");
  EXPECT_EQ(refusal_of("llama_gqa",
                       [](Json& c) {
                         c = {{"hidden_size", 20}};
                       })
                .code(),
            "ARCH_UNSUPPORTED");
}

TEST(Spec, TheClassAloneNamesTheArchitectureWhereTheTypeIsAbsent) {
  ModelFolder model("opt_pre");
  model.config.erase("model_type");
  EXPECT_EQ(spec_of(model).info.architecture, "opt");
}

TEST(Spec, ABareSafetensorsFileHasNoConfiguration) {
  ModelFolder model("opt_pre");
  const auto file = io::open_checkpoint(model.write() / "model.safetensors");
  EXPECT_EQ(error_of([&] { read_spec(*file); }).code(), "MODEL_NO_CONFIG");
}

// ---- GGUF

/// The golden Llama as the GGUF file that llama.cpp's converter would make of it.
class GgufLlama {
 public:
  std::map<std::string, std::uint32_t> numbers = {
      {"llama.block_count", 2},          {"llama.context_length", 64},
      {"llama.embedding_length", 20},    {"llama.feed_forward_length", 33},
      {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2},
      {"llama.attention.key_length", 6}, {"llama.rope.dimension_count", 6}};
  std::string architecture = "llama";
  std::function<void(io::testing::GgufFile&)> more = [](io::testing::GgufFile&) {};
  testing::TemporaryFolder folder;

  std::filesystem::path write() const {
    io::testing::GgufFile file;
    file.string("general.architecture", architecture);
    for (const auto& [key, value] : numbers) file.u32(key, value);
    file.key("llama.attention.layer_norm_rms_epsilon", io::testing::kF32, io::testing::raw(1e-2F));
    more(file);
    const ModelFolder model("llama_gqa");
    const ModelSpec spec = spec_of(model);
    for (const TensorSpec& tensor : spec.tensors) {
      std::vector<float> values(element_count(tensor.shape).value());
      std::memcpy(values.data(), model.tensors.at(tensor.name).bytes.data(),
                  values.size() * sizeof(float));
      if (tensor.rotary_heads > 0)
        values = interleaved(values, tensor.shape[1], tensor.shape[0] / tensor.rotary_heads);
      file.floats(tensor.gguf, {tensor.shape.rbegin(), tensor.shape.rend()}, values);
    }
    testing::write_text(folder / "model.gguf", file.bytes());
    return folder / "model.gguf";
  }

  static std::vector<float> interleaved(const std::vector<float>& rows, std::size_t width,
                                        std::size_t head_width) {
    std::vector<float> mixed(rows.size());
    for (std::size_t row = 0; row < rows.size() / width; ++row) {
      const std::size_t within = row % head_width;
      const std::size_t half = head_width / 2;
      const std::size_t target = row - within + 2 * (within % half) + within / half;
      std::copy_n(rows.data() + row * width, width, mixed.data() + target * width);
    }
    return mixed;
  }
};

TEST(GgufSpec, AFileWithInterleavedRotaryRowsGivesTheSameLogits) {
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  EXPECT_TRUE(same_bits(run_model(*load(GgufLlama().write()), ids),
                        run_model(*load(golden_path("llama_gqa")), ids)));
}

TEST(GgufSpec, TheConfigurationIsThatOfAnEqualDirectory) {
  const ModelSpec spec = read_spec(*io::open_checkpoint(GgufLlama().write()));
  const Json config = Json::parse(spec.config_json);
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(config["rms_norm_eps"], 0.01);  // the shortest decimal of the float32
  EXPECT_EQ(config["head_dim"], 6);
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_TRUE(config["rope_scaling"].is_null());
}

TEST(GgufSpec, BadHyperParametersAreRefused) {
  const std::vector<std::pair<const char*, std::uint32_t>> bad = {
      {"llama.block_count", 0},          {"llama.block_count", 1000000000},
      {"llama.block_count", 3},  // the file holds two
      {"llama.attention.head_count", 0}, {"llama.attention.head_count", 3},
      {"llama.rope.dimension_count", 5}, {"llama.rope.dimension_count", 8},
      {"llama.embedding_length", 0},     {"llama.vocab_size", 60}};
  for (const auto& [key, value] : bad) {
    GgufLlama model;
    model.numbers[key] = value;
    const Error error = error_of([&] { read_spec(*io::open_checkpoint(model.write())); });
    EXPECT_EQ(error.code(), "GG_PARAM") << key << " = " << value;
    EXPECT_NE(std::string(error.what()).find(key), std::string::npos) << error.what();
  }
}

TEST(GgufSpec, RotaryEmbeddingOfPartOfAHeadIsNotSupported) {
  GgufLlama model;
  model.numbers["llama.rope.dimension_count"] = 4;
  EXPECT_EQ(error_of([&] { read_spec(*io::open_checkpoint(model.write())); }).code(),
            "ARCH_FEATURE");
}

TEST(GgufSpec, APerLayerListMustHaveAllLayersAndOneValue) {
  const auto list = [](std::vector<std::uint32_t> values) {
    GgufLlama model;
    model.numbers.erase("llama.feed_forward_length");
    model.more = [values](io::testing::GgufFile& file) {
      std::string bytes;
      for (const std::uint32_t value : values) bytes += io::testing::raw(value);
      file.array("llama.feed_forward_length", io::testing::kU32, values.size(), bytes);
    };
    return read_spec(*io::open_checkpoint(model.write())).info.intermediate;
  };
  EXPECT_EQ(list({33, 33}), 33U);
  EXPECT_EQ(error_of([&] { list({33}); }).code(), "GG_PARAM");
  EXPECT_EQ(error_of([&] { list({33, 34}); }).code(), "ARCH_FEATURE");
}

TEST(GgufSpec, MissingAndMistypedKeysAreRefused) {
  GgufLlama missing;
  missing.numbers.erase("llama.attention.head_count");
  EXPECT_EQ(error_of([&] { read_spec(*io::open_checkpoint(missing.write())); }).code(),
            "GG_KEY_MISSING");
  GgufLlama mistyped;
  mistyped.numbers.erase("llama.context_length");
  mistyped.more = [](io::testing::GgufFile& file) { file.string("llama.context_length", "64"); };
  EXPECT_EQ(error_of([&] { read_spec(*io::open_checkpoint(mistyped.write())); }).code(),
            "GG_KEY_TYPE");
}

TEST(GgufSpec, UnknownArchitecturesAreRefused) {
  GgufLlama model;
  model.architecture = "mamba";
  const Error error = error_of([&] { read_spec(*io::open_checkpoint(model.write())); });
  EXPECT_EQ(error.code(), "ARCH_UNSUPPORTED");
  EXPECT_NE(error.details().expected.find("qwen2"), std::string::npos);
}

TEST(GgufSpec, StoredRotaryDivisorsBecomeLlama3ScalingWhereTheyAreThat) {
  GgufLlama model;
  // factor 8, low 1, high 4, context 8192 at theta 10000, d = 6: frequencies 1, 0.0464, 0.00215
  // turn 1304, 60.5 and 2.81 times in that context; the last lies between 1 and 4, blend (2.81 - 1)
  // / 3
  const double turns = 8192 * std::pow(10000.0, -2.0 / 3) / (2 * 3.14159265358979323846);
  const double blend = (turns - 1) / 3;
  const std::vector<float> usual = {1, 1, static_cast<float>(1 / ((1 - blend) / 8 + blend))};
  model.more = [&](io::testing::GgufFile& file) { file.floats("rope_freqs.weight", {3}, usual); };
  // the largest divisor is not the factor here, so the file is written as plain divisors
  const Json plain =
      Json::parse(read_spec(*io::open_checkpoint(model.write())).config_json)["rope_scaling"];
  EXPECT_EQ(plain["rope_type"], "longrope");
  EXPECT_EQ(plain["short_factor"], plain["long_factor"]);
  EXPECT_EQ(plain["long_factor"][2].get<float>(), usual[2]);

  GgufLlama slow;
  slow.more = [](io::testing::GgufFile& file) {
    file.key("llama.rope.freq_base", io::testing::kF32, io::testing::raw(500000.0F));
    // frequencies 1, 0.0126, 0.000159: 1304, 16.4 and 0.207 turns, so 1, 1 and the whole factor
    file.floats("rope_freqs.weight", {3}, {1, 1, 32});
  };
  const Json llama3 =
      Json::parse(read_spec(*io::open_checkpoint(slow.write())).config_json)["rope_scaling"];
  EXPECT_EQ(llama3["rope_type"], "llama3");
  EXPECT_EQ(llama3["factor"], 32.0);
}

TEST(GgufSpec, StoredRotaryDivisorsOfAnotherLengthAreRefused) {
  GgufLlama model;
  model.more = [](io::testing::GgufFile& file) {
    file.floats("rope_freqs.weight", {4}, {1, 1, 1, 1});
  };
  EXPECT_EQ(error_of([&] { read_spec(*io::open_checkpoint(model.write())); }).code(),
            "GG_TENSOR_SHAPE");
}

}  // namespace
}  // namespace tender::model
