#include "io/test_files.h"

namespace tender::io {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the builder of test files

constexpr std::int32_t kTypeF32 = 0;

GgufFile part(std::uint16_t number, std::uint16_t count, std::uint32_t tensors) {
  GgufFile file;
  if (number == 0) file.string("general.architecture", "llama");
  file.u16("split.no", number).u16("split.count", count).u32("split.tensors.count", tensors);
  return file;
}

class SplitGgufTest : public ::testing::Test {
 protected:
  std::filesystem::path put(const std::string& name, const GgufFile& file) const {
    write_text(folder_ / name, file.bytes());
    return folder_ / name;
  }
  void put_good() const {
    put("m-00001-of-00003.gguf", part(0, 3, 3).tensor("a", {1}, kTypeF32, 4, '\1'));
    put("m-00002-of-00003.gguf", part(1, 3, 3).tensor("b", {1}, kTypeF32, 4, '\2'));
    put("m-00003-of-00003.gguf", part(2, 3, 3).tensor("c", {1}, kTypeF32, 4, '\3'));
  }
  TemporaryFolder folder_;
};

TEST_F(SplitGgufTest, AnyPartOpensTheWhole) {
  put_good();
  for (const std::string number : {"1", "2", "3"}) {
    const auto model = open_checkpoint(folder_ / ("m-0000" + number + "-of-00003.gguf"));
    EXPECT_EQ(model->files().size(), 3U);
    EXPECT_EQ(model->gguf()->string("general.architecture"), "llama");
    EXPECT_EQ(model->tensors().tensors().size(), 3U);
    const TensorInfo* c = model->tensors().find("c");
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->bytes[0], std::byte{3});
    EXPECT_TRUE(model->tensors().file_of(*c).ends_with("m-00003-of-00003.gguf"));
  }
}

TEST_F(SplitGgufTest, APartWithoutTensorsIsFine) {
  put("m-00001-of-00002.gguf", part(0, 2, 1));
  put("m-00002-of-00002.gguf", part(1, 2, 1).tensor("b", {1}, kTypeF32, 4));
  EXPECT_EQ(open_checkpoint(folder_ / "m-00001-of-00002.gguf")->tensors().tensors().size(), 1U);
}

TEST_F(SplitGgufTest, G11aAMissingPartIsNamed) {
  put_good();
  std::filesystem::remove(folder_ / "m-00002-of-00003.gguf");
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MISSING");
  try {
    open_checkpoint(folder_ / "m-00003-of-00003.gguf");
  } catch (const Error& error) {
    EXPECT_THAT(error.sentence(), ::testing::HasSubstr("m-00002-of-00003.gguf"));
  }
}

TEST_F(SplitGgufTest, G11aAWrongCountOrNameIsRefused) {
  put_good();
  expect_refused(put("m-00001-of-00004.gguf", part(0, 3, 3)), "GG_SPLIT_MISSING");
  expect_refused(put("renamed.gguf", part(0, 3, 3)), "GG_SPLIT_MISSING");
  expect_refused(put("m-00002-of-00003.gguf", part(0, 3, 3)), "GG_SPLIT_MISSING");
  put_good();
  put("m-00001-of-00003.gguf", part(0, 3, 4).tensor("a", {1}, kTypeF32, 4));
  put("m-00002-of-00003.gguf", part(1, 3, 4).tensor("b", {1}, kTypeF32, 4));
  put("m-00003-of-00003.gguf", part(2, 3, 4).tensor("c", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MISSING");  // three of four tensors
}

TEST_F(SplitGgufTest, G11bPartsOfDifferentModelsAreRefused) {
  put_good();
  put("m-00002-of-00003.gguf", part(1, 3, 5).tensor("b", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MIXED");
  put("m-00002-of-00003.gguf", part(1, 2, 3).tensor("b", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MIXED");
  put("m-00002-of-00003.gguf", part(2, 3, 3).tensor("b", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MIXED");
  put("m-00002-of-00003.gguf",
      part(1, 3, 3).string("general.architecture", "qwen2").tensor("b", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MIXED");
  put("m-00002-of-00003.gguf", part(1, 3, 3).tensor("a", {1}, kTypeF32, 4));
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_SPLIT_MIXED");
}

TEST_F(SplitGgufTest, ADamagedPartIsNamed) {
  put_good();
  write_text(folder_ / "m-00003-of-00003.gguf",
             part(2, 3, 3).tensor("c", {2}, kTypeF32, 4).bytes());
  expect_refused(folder_ / "m-00001-of-00003.gguf", "GG_TRUNCATED");
}

}  // namespace
}  // namespace tender::io
