#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
namespace fs = std::filesystem;

Json convert(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "convert");
  arguments.insert(arguments.end(), {"--json"});
  const Finished finished = run_tender(arguments);
  EXPECT_EQ(finished.exit_code, 0) << finished.err << finished.out;
  return finished.exit_code == 0 ? Json::parse(finished.out) : Json();
}

std::string logits_of(const fs::path& model, const TemporaryFolder& folder) {
  const Finished finished = run_tender(
      {"logits", model, "--tokens", "5,9,2,60,33,7", "--out", folder / "logits.npy", "--force"});
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  return read_text(folder / "logits.npy");
}

TEST(ConvertCommand, TheResultHasTheLogitsOfTheSource) {
  const TemporaryFolder folder;
  for (const std::string name :
       {"llama_gqa", "llama3_tied", "qwen2", "mistral", "opt_pre", "opt_post"}) {
    const fs::path source = source_path("src/model/golden/" + name);
    convert({source, folder / name});
    EXPECT_EQ(logits_of(source, folder), logits_of(folder / name, folder)) << name;
  }
}

TEST(ConvertCommand, TheSmallestExactTypeIsTaken) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"llama_gqa", "f32"}, {"qwen2", "bf16"}, {"mistral", "f16"}};
  for (const auto& [name, type] : expected) {
    const Json report = convert({source_path("src/model/golden/" + name), folder / name});
    EXPECT_EQ(report["dtype"], type) << name;
    EXPECT_EQ(report["rounded"], 0) << name;
    EXPECT_EQ(report["bytes"], fs::file_size(fs::path(folder / name) / "model.safetensors"));
    const Json config = Json::parse(read_text(fs::path(folder / name) / "config.json"));
    EXPECT_EQ(config["torch_dtype"], type == "f32"   ? "float32"
                                     : type == "f16" ? "float16"
                                                     : "bfloat16");
  }
}

TEST(ConvertCommand, AGivenTypeRoundsAndSaysSo) {
  const TemporaryFolder folder;
  const fs::path source = source_path("src/model/golden/llama_gqa");
  const Finished finished = run_tender({"convert", source, folder / "half", "--dtype", "f16"});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("numbers were rounded"));
  EXPECT_LT(fs::file_size(fs::path(folder / "half") / "model.safetensors"),
            fs::file_size(source / "model.safetensors") * 2 / 3);
  EXPECT_NE(logits_of(source, folder), logits_of(folder / "half", folder));
  // what was rounded once is exact from then on
  EXPECT_EQ(convert({folder / "half", folder / "again"})["dtype"], "f16");
  EXPECT_EQ(logits_of(folder / "half", folder), logits_of(folder / "again", folder));
}

TEST(ConvertCommand, TokenizerAndGenerationSettingsComeAlong) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny");
  convert({folder / "tiny", folder / "out"});
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    EXPECT_EQ(read_text(fs::path(folder / "out") / name),
              read_text(fs::path(folder / "tiny") / name))
        << name;
}

TEST(ConvertCommand, AQuantizedDirectoryGivesTheWeightsOfItsCodes) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "tiny");
  const auto quantize = [&](const std::string& from, const std::string& to) {
    const Finished finished =
        run_tender({"quantize", folder / from, folder / to, "--method", "rtn", "--weight-bits", "4",
                    "--activation-granularity", "none", "--float-dtype", "f32"});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
  };
  quantize("tiny", "codes");
  convert({folder / "codes", folder / "float"});
  EXPECT_NE(logits_of(folder / "tiny", folder), logits_of(folder / "float", folder));
  const Json config = Json::parse(read_text(fs::path(folder / "float") / "config.json"));
  EXPECT_FALSE(config.contains("quantization_config"));
  // round to nearest is idempotent: the weights of the codes give the codes again, and with them
  // the bits
  quantize("float", "again");
  EXPECT_EQ(logits_of(folder / "codes", folder), logits_of(folder / "again", folder));
}

TEST(ConvertCommand, AnExistingOutputIsKeptUnlessForced) {
  const TemporaryFolder folder;
  const std::string source = source_path("src/model/golden/opt_pre");
  fs::create_directory(folder / "out");
  write_text(fs::path(folder / "out") / "mine.md", "text");
  const Finished refused = run_tender({"convert", source, folder / "out"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("tender: error IO_EXISTS: "));
  EXPECT_EQ(read_text(fs::path(folder / "out") / "mine.md"), "text");
  convert({source, folder / "out", "--force"});
  EXPECT_FALSE(fs::exists(fs::path(folder / "out") / "mine.md"));
}

TEST(ConvertCommand, ARefusedModelLeavesNothingBehind) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "bad");
  write_text(fs::path(folder / "bad") / "config.json", R"({"model_type": "mamba"})");
  fs::copy_file(source_path("src/model/golden/opt_pre/model.safetensors"),
                fs::path(folder / "bad") / "model.safetensors");
  const Finished finished = run_tender({"convert", folder / "bad", folder / "out"});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_THAT(finished.err, HasSubstr("ARCH_UNSUPPORTED"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(run_tender({"convert", folder / "bad", folder / "out", "--dtype", "f8"}).exit_code, 2);
}

}  // namespace
}  // namespace tender::testing
