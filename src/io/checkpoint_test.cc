#include <sys/stat.h>

#include "io/test_files.h"

namespace tender::io {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the builder of test files

TEST(OpenCheckpointTest, TheKindIsReadFromTheBytes) {
  const TemporaryFolder folder;
  write_text(folder / "a.bin", gguf_file().bytes());
  write_text(folder / "b.gguf", safetensors_file("{}", 0));
  EXPECT_EQ(open_checkpoint(folder / "a.bin")->container(), "gguf");
  EXPECT_EQ(open_checkpoint(folder / "b.gguf")->container(), "safetensors");
}

TEST(OpenCheckpointTest, OtherFilesAreRefusedAndSayHowTheyBegin) {
  const TemporaryFolder folder;
  write_text(folder / "x", "\x89PNG\r\n\x1a\n");
  expect_refused(folder / "x", "IO_FORMAT");
  write_text(folder / "empty", "");
  expect_refused(folder / "empty", "IO_FORMAT");
}

TEST(OpenCheckpointTest, WhatIsAbsentIsNotFound) {
  const TemporaryFolder folder;
  expect_refused(folder / "absent", "IO_NOT_FOUND");
  expect_refused(folder / "absent" / "deeper", "IO_NOT_FOUND");
}

TEST(OpenCheckpointTest, S16PipesAndDevicesAreRefusedWithoutWaiting) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_refused(folder / "pipe", "IO_NOT_REGULAR");
  expect_refused("/dev/zero", "IO_NOT_REGULAR");
  write_text(folder / "config.json", "{}");
  std::filesystem::rename(folder / "pipe", folder / "model.safetensors");
  expect_refused(folder.path(), "IO_NOT_REGULAR");
}

TEST(OpenCheckpointTest, S16FilesOfProcfsAndSparseFilesAreJudgedByTheirBytes) {
  expect_refused("/proc/self/status", "IO_FORMAT");
  const TemporaryFolder folder;
  const auto sparse = [&](const std::string& name, const std::string& begin) {
    write_text(folder / name, begin);
    std::filesystem::resize_file(folder / name, std::uintmax_t{1} << 40U);
    return folder / name;
  };
  expect_refused(sparse("zero.safetensors", ""), "ST_HEADER_EMPTY");
  expect_refused(sparse("header.safetensors", safetensors_file("{}", 0)), "ST_TRAILING_BYTES");
  expect_refused(sparse("zero.gguf", ""), "GG_MAGIC");
  GgufFile counts = gguf_file();
  counts.key_count = 1U << 20U;
  expect_refused(sparse("counts.gguf", counts.bytes()), "GG_COUNT");
}

}  // namespace
}  // namespace tender::io
