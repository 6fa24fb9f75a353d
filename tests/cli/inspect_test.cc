#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "io/test_files.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_model.h"

namespace tender::testing {
namespace {

using io::testing::GgufFile;
using io::testing::raw;
using ::testing::HasSubstr;

Json inspect_json(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"inspect", "--json"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Finished finished = run_tender(all);
  EXPECT_EQ(finished.exit_code, 0) << finished.out << finished.err;
  Json document = Json::parse(finished.out);
  EXPECT_EQ(document["version"], 1);
  return document;
}

TEST(InspectTest, ADirectoryShowsItsModelTypesAndTokenizer) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "m");
  const Json document = inspect_json({folder / "m"});
  EXPECT_EQ(document["container"], "hf_directory");
  EXPECT_EQ(document["model"]["architecture"], "llama");
  EXPECT_EQ(document["model"]["layers"], 2);
  EXPECT_EQ(document["model"]["width"], 48);
  EXPECT_EQ(document["model"]["kv_heads"], 2);
  EXPECT_EQ(document["model"]["tied_head"], true);
  EXPECT_EQ(document["types"][0]["type"], "F32");
  EXPECT_EQ(document["bits_per_weight"], 32.0);
  EXPECT_EQ(document["bytes"], document["parameters"].get<std::uint64_t>() * 4);
  EXPECT_EQ(document["weights"], "14 matrices in F32, the tied embedding in F32, 5 vectors in F32");
  EXPECT_EQ(document["tokenizer"]["vocabulary"], kTinyVocabulary);
  EXPECT_EQ(document["tensors"].size(), 20U);
  EXPECT_EQ(document["metadata"]["model_type"], "llama");
  const Finished text = run_tender({"inspect", folder / "m"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_EQ(text.err, "");
  for (const char* part : {"architecture   llama", "14 matrices in F32",
                           "model.layers.1.mlp.down_proj.weight", "[48, 88]"})
    EXPECT_THAT(text.out, HasSubstr(part));
}

TEST(InspectTest, AQuantizedDirectoryShowsItsMethodAndHoldsItsHashes) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "m");
  const Finished made =
      run_tender({"quantize", folder / "m", folder / "q", "--method", "rtn", "--quiet"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json document = inspect_json({folder / "q", "--verify"});
  EXPECT_EQ(document["quantization"]["quant_method"], "rtn");
  EXPECT_EQ(document["weights"],
            "14 matrices quantized with rtn, the tied embedding in F16, 5 vectors in F32");
  EXPECT_EQ(document["model"]["layers"], 2);
  EXPECT_EQ(document["verified_tensors"], document["tensors"].size());
  const Json before = inspect_json({folder / "m"});
  EXPECT_EQ(document["parameters"], before["parameters"]);
  EXPECT_LT(document["bits_per_weight"].get<double>(), before["bits_per_weight"].get<double>());
}

GgufFile unknown_architecture() {
  GgufFile file;
  file.string("general.architecture", "rwkv9").u32("general.file_type", 8);
  file.array("long", io::testing::kU8, 20, std::string(20, '\1'));
  return file.tensor("token_embd.weight", {32, 2}, 8, 68)
      .tensor("a", {32, 2}, 2, 36)
      .tensor("b", {32}, 0, 128);
}

TEST(InspectTest, AnUnknownArchitectureIsShownWithAWordOnIt) {
  const TemporaryFolder folder;
  write_text(folder / "x.gguf", unknown_architecture().bytes());
  const Json document = inspect_json({folder / "x.gguf"});
  EXPECT_EQ(document["architecture"], "rwkv9");
  EXPECT_TRUE(document["model"].is_null());
  EXPECT_THAT(document["model_problem"].get<std::string>(), HasSubstr("rwkv9"));
  EXPECT_EQ(document["weights"], "1 matrix from Q4_0, the embedding from Q8_0, 1 vector in F32");
  EXPECT_EQ(document["parameters"], 160);
  EXPECT_EQ(document["metadata"]["long"]["count"], 20);
  EXPECT_EQ(document["metadata"]["long"]["first"].size(), 8U);
}

TEST(InspectTest, ABareSafetensorsFileAndAVocabularyAreShown) {
  const TemporaryFolder folder;
  write_text(
      folder / "x.safetensors",
      io::testing::safetensors_file(
          R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}})",
          12));
  const Json bare = inspect_json({folder / "x.safetensors"});
  EXPECT_EQ(bare["container"], "safetensors");
  EXPECT_EQ(bare["metadata"]["format"], "pt");
  EXPECT_EQ(bare["bits_per_weight"], 16.0);
  write_text(folder / "v.gguf", io::testing::gguf_file().bytes());
  const Json vocabulary = inspect_json({folder / "v.gguf"});
  EXPECT_EQ(vocabulary["parameters"], 0);
  EXPECT_TRUE(vocabulary["model_problem"].is_null());
}

TEST(InspectTest, EveryKernelFamilyHasOneThatIsChosenAndTheOthersSayWhyNot) {
  for (const std::string cpu : {"scalar", "native"}) {
    const Finished finished = run_tender({"inspect", "--kernels", "--json"}, {{"TENDER_CPU", cpu}});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    const Json document = Json::parse(finished.out);
    std::map<std::string, int> chosen;
    for (const Json& kernel : document["kernels"]) {
      chosen[kernel["family"]] += kernel["chosen"].get<bool>() ? 1 : 0;
      EXPECT_EQ(kernel["why"].is_null(), kernel["chosen"].get<bool>()) << kernel;
      if (cpu == "scalar" && kernel["chosen"]) {
        EXPECT_EQ(kernel["needs"], "scalar");
      }
    }
    EXPECT_GE(chosen.size(), 4U);
    for (const auto& [family, count] : chosen) EXPECT_EQ(count, 1) << family;
  }
  EXPECT_EQ(run_tender({"inspect", "--kernels"}, {{"TENDER_CPU", "z80"}}).exit_code, 2);
}

TEST(InspectTest, VerifyComparesEveryTensorWithItsStoredHash) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "m");
  EXPECT_EQ(inspect_json({folder / "m", "--verify"})["verified_tensors"], 0);
  Json hashes = Json::object();
  const auto model = io::open_checkpoint(folder / "m");
  for (const TensorInfo& tensor : model->tensors().tensors())
    hashes[tensor.name] = xxh3_hex(tensor.bytes);
  write_text(folder / "m" / "tender_report.json", Json{{"tensors", hashes}}.dump());
  const Json document = inspect_json({folder / "m", "--verify"});
  EXPECT_EQ(document["verified_tensors"], hashes.size());
  EXPECT_EQ(document["files"][0]["sha256"],
            sha256_hex(read_text(folder / "m" / "model.safetensors")));

  std::string bytes = read_text(folder / "m" / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(folder / "m" / "model.safetensors", bytes);
  const Finished flipped = run_tender({"inspect", folder / "m", "--verify", "--json"});
  EXPECT_EQ(flipped.exit_code, 1);
  const Json error = Json::parse(flipped.out)["error"];
  EXPECT_EQ(error["code"], "CK_CHECKSUM");
  EXPECT_NE(model->tensors().find(error["item"].get<std::string>()), nullptr);
  EXPECT_EQ(run_tender({"inspect", folder / "m"}).exit_code, 0);
}

TEST(InspectTest, VerifyRefusesAReportThatDoesNotCoverTheTensors) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "m");
  for (const auto& [report, code] :
       std::map<std::string, std::string>{{"{}", "CK_REPORT"},
                                          {"x", "CK_REPORT"},
                                          {R"({"tensors":[]})", "CK_REPORT"},
                                          {R"({"tensors":{}})", "CK_CHECKSUM"}}) {
    write_text(folder / "m" / "tender_report.json", report);
    const Finished finished = run_tender({"inspect", folder / "m", "--verify", "--json"});
    EXPECT_EQ(finished.exit_code, 1);
    EXPECT_EQ(Json::parse(finished.out)["error"]["code"], code) << report;
  }
}

TEST(InspectTest, DamageIsOneSentenceAndAHint) {
  const TemporaryFolder folder;
  std::string bytes = unknown_architecture().bytes();
  bytes.pop_back();
  write_text(folder / "x.gguf", bytes);
  const Finished finished = run_tender({"inspect", folder / "x.gguf"});
  EXPECT_EQ(finished.exit_code, 1);
  EXPECT_EQ(finished.out, "");
  EXPECT_THAT(
      finished.err,
      ::testing::StartsWith("tender: error GG_TRUNCATED: " + (folder / "x.gguf").string() + ": "));
  EXPECT_THAT(finished.err, HasSubstr("\n  hint: "));
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 2);
}

TEST(InspectTest, WithoutAModelAndWithoutKernelsTheCommandLineIsWrong) {
  EXPECT_EQ(run_tender({"inspect"}).exit_code, 2);
  EXPECT_EQ(run_tender({"inspect", "--verify", "--kernels"}).exit_code, 2);
  EXPECT_EQ(run_tender({"inspect", "/absent/model.gguf"}).exit_code, 1);
}

}  // namespace
}  // namespace tender::testing
