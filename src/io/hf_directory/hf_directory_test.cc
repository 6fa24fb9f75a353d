#include "io/hf_directory/hf_directory.h"

#include <nlohmann/json.hpp>

#include "io/test_files.h"

namespace tender::io {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the builder of test files

std::string file_with(std::initializer_list<const char*> names) {
  std::string header = "{";
  std::size_t end = 0;
  for (const char* name : names) {
    header += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})",
                          end > 0 ? "," : "", name, end, end + 1);
    ++end;
  }
  return safetensors_file(header + "}", end);
}

class HfDirectoryTest : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) const {
    write_text(folder_ / name, text);
  }
  void put_sharded() const {
    put("config.json", "{}");
    put("m-1.safetensors", file_with({"a"}));
    put("m-2.safetensors", file_with({"b", "c"}));
    put_index(R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors")");
  }
  void put_index(const std::string& map) const {
    put("model.safetensors.index.json",
        R"({"metadata":{"total_size":3},"weight_map":{)" + map + "}}");
  }
  void expect(std::string_view code, Need need = Need::model) const {
    expect_refused(folder_.path(), code, need);
  }
  TemporaryFolder folder_;
};

TEST_F(HfDirectoryTest, OneFileOpens) {
  put("config.json", R"({"model_type":"llama"})");
  put("model.safetensors", file_with({"a"}));
  put("tokenizer.json", "{}");
  const auto model = open_checkpoint(folder_.path());
  EXPECT_EQ(model->container(), "hf_directory");
  EXPECT_EQ((*model->config())["model_type"], "llama");
  EXPECT_EQ(model->tensors().tensors().size(), 1U);
  EXPECT_EQ(model->read("tokenizer.json"), "{}");
  EXPECT_EQ(model->read("tokenizer.model"), std::nullopt);
  EXPECT_EQ(model->files().size(), 3U);
  EXPECT_TRUE(model->notes().empty());
  EXPECT_EQ(model->gguf(), nullptr);
}

TEST_F(HfDirectoryTest, ShardsOpenAsOne) {
  put_sharded();
  const auto model = open_checkpoint(folder_.path());
  EXPECT_EQ(model->tensors().tensors().size(), 3U);
  EXPECT_TRUE(model->tensors().file_of(*model->tensors().find("c")).ends_with("m-2.safetensors"));
}

TEST_F(HfDirectoryTest, OnlyPlainFileNamesAreRead) {
  put("config.json", "{}");
  put("model.safetensors", file_with({"a"}));
  std::filesystem::create_directory(folder_ / "sub");
  put("sub/x", "secret");
  const auto model = open_checkpoint(folder_.path());
  for (const std::string name : {"sub/x", "../x", "..", ".", "", "/etc/passwd", "sub\\x"})
    EXPECT_EQ(model->read(name), std::nullopt) << name;
}

TEST_F(HfDirectoryTest, H1aWithoutConfigTheFilesAreListed) {
  put("model.safetensors", file_with({"a"}));
  put("weights.gguf", gguf_file().bytes());
  expect("HF_NO_CONFIG");
  try {
    open_checkpoint(folder_.path());
  } catch (const Error& error) {
    EXPECT_THAT(error.sentence(), ::testing::HasSubstr("'model.safetensors'"));
    EXPECT_THAT(error.details().hint, ::testing::HasSubstr("weights.gguf"));
  }
}

TEST_F(HfDirectoryTest, H1bConfigMustBeAnObject) {
  put("model.safetensors", file_with({"a"}));
  for (const std::string text : {"", "[]", "{", "{\"a\":1,\"a\":2}", "{} x", "3"}) {
    put("config.json", text);
    expect("HF_CONFIG_JSON");
  }
  put("config.json", "{\"a\":" + std::string(100, '['));
  expect("JSON_DEPTH");
}

TEST_F(HfDirectoryTest, H1cAByteOrderMarkIsRefused) {
  put("model.safetensors", file_with({"a"}));
  put("config.json", "\xef\xbb\xbf{}");
  expect("HF_CONFIG_BOM");
}

TEST_F(HfDirectoryTest, H3aShardsAreNoPaths) {
  put_sharded();
  for (const std::string name :
       {"../m-1.safetensors", "/m-1.safetensors", "x/m-1.safetensors", "..", ""}) {
    put_index(R"("a":")" + name + R"(")");
    expect("HF_SHARD_PATH");
  }
}

TEST_F(HfDirectoryTest, H3bAllMissingShardsAreListed) {
  put_sharded();
  put_index(R"("a":"m-1.safetensors","b":"gone-1.safetensors","c":"gone-2.safetensors")");
  expect("HF_SHARD_MISSING");
  try {
    open_checkpoint(folder_.path());
  } catch (const Error& error) {
    EXPECT_THAT(error.sentence(),
                ::testing::AllOf(::testing::HasSubstr("gone-1"), ::testing::HasSubstr("gone-2")));
  }
}

TEST_F(HfDirectoryTest, H3cIndexAndShardsMustAgree) {
  put_sharded();
  put_index(R"("a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors")");
  expect("HF_SHARD_MISMATCH");
  put_index(
      R"("a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors","d":"m-2.safetensors")");
  expect("HF_SHARD_MISMATCH");
  put_index(R"("a":"m-1.safetensors","b":"m-2.safetensors")");
  expect("HF_SHARD_MISMATCH");
}

TEST_F(HfDirectoryTest, H3dATensorInTwoShardsIsRefused) {
  put_sharded();
  put("m-1.safetensors", file_with({"a", "b"}));
  expect("HF_DUPLICATE_TENSOR");
}

TEST_F(HfDirectoryTest, ABadIndexIsRefused) {
  put_sharded();
  const std::string index = "model.safetensors.index.json";
  for (const std::string text :
       {"", "{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
        R"({"weight_map":{}} x)", R"({"weight_map":{},"weight_map":{}})",
        "{\"weight_map\":{\"\xff\":\"x\"}}"}) {
    put(index, text);
    expect("HF_INDEX_JSON");
  }
  put(index, R"({"weight_map":{"a":"m-1.safetensors","a":"m-1.safetensors"}})");
  expect("HF_DUPLICATE_TENSOR");
  put(index, "{\"x\":" + std::string(100'000, '['));
  expect("JSON_DEPTH");
}

TEST_F(HfDirectoryTest, H5PickleFilesAreNeverOpened) {
  put("config.json", "{}");
  put("pytorch_model.bin", "\x80\x02");
  expect("HF_PICKLE");
}

TEST_F(HfDirectoryTest, AnIncompleteDirectoryIsRefused) {
  put("config.json", "{}");
  expect("HF_NO_WEIGHTS");
  put("model-00001-of-00002.safetensors", file_with({"a"}));
  expect("HF_SHARD_MISSING");
  put("model.safetensors", file_with({"a"}).substr(0, 30));
  expect("ST_HEADER_PAST_END");
}

TEST_F(HfDirectoryTest, R1aATruncatedCheckpointOfTenderIsNamedAsSuch) {
  put("config.json", "{}");
  put("tender_report.json", "{}");
  const std::string whole = file_with({"a"});
  for (const std::size_t keep : {std::size_t{3}, std::size_t{30}, whole.size() - 1}) {
    put("model.safetensors", whole.substr(0, keep));
    expect("CK_TRUNCATED");
  }
  put("model.safetensors", whole + "x");
  expect("ST_TRAILING_BYTES");
}

TEST_F(HfDirectoryTest, H6RemoteCodeIsIgnoredWithANote) {
  put("config.json", R"({"auto_map":{"AutoModel":"x.py"}})");
  put("model.safetensors", file_with({"a"}));
  EXPECT_THAT(open_checkpoint(folder_.path())->notes(),
              ::testing::ElementsAre(::testing::HasSubstr("auto_map")));
}

TEST_F(HfDirectoryTest, TokenizerFilesAloneOpenWhereNoMoreIsNeeded) {
  put("tokenizer.json", "{}");
  expect("HF_NO_CONFIG");
  const auto tokenizer = open_checkpoint(folder_.path(), Need::tokenizer);
  EXPECT_EQ(tokenizer->config(), nullptr);
  EXPECT_TRUE(tokenizer->tensors().tensors().empty());
  EXPECT_EQ(tokenizer->read("tokenizer.json"), "{}");
  put("model.safetensors", "damaged");
  expect("ST_TOO_SHORT", Need::tokenizer);
}

TEST_F(HfDirectoryTest, S17LinksAreFollowedToRegularFilesOnly) {
  const TemporaryFolder blobs;
  write_text(blobs / "blob", file_with({"a"}));
  put("config.json", "{}");
  std::filesystem::create_symlink(blobs / "blob", folder_ / "model.safetensors");
  EXPECT_EQ(open_checkpoint(folder_.path())->tensors().tensors().size(), 1U);
  for (const std::filesystem::path& target :
       {blobs / "gone", blobs.path(), std::filesystem::path("/dev/zero")}) {
    std::filesystem::remove(folder_ / "model.safetensors");
    std::filesystem::create_symlink(target, folder_ / "model.safetensors");
    expect("IO_LINK");
  }
}

}  // namespace
}  // namespace tender::io
