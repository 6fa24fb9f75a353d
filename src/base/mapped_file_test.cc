#include "base/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/support/test_support.h"

namespace tender {
namespace {

using testing::TemporaryFolder;
using testing::write_text;

std::string code_of_mapping(const std::filesystem::path& path) {
  try {
    MappedFile file(path);
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

TEST(MappedFileTest, GivesTheBytesOfARegularFileEvenAfterTheyWereReleased) {
  const TemporaryFolder folder;
  const std::string text(20000, 'x');
  write_text(folder / "a", text);
  const MappedFile file(folder / "a");
  EXPECT_EQ(file.text(), text);
  MappedFile::release(file.bytes());
  EXPECT_EQ(file.text(), text);
  write_text(folder / "empty", "");
  EXPECT_EQ(MappedFile(folder / "empty").bytes().size(), 0U);
}

TEST(MappedFileTest, WhatIsNoRegularFileIsRefusedWithoutBlocking) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of_mapping(folder / "pipe"), "IO_NOT_REGULAR");
  EXPECT_EQ(code_of_mapping(folder.path()), "IO_NOT_REGULAR");
  EXPECT_EQ(code_of_mapping("/dev/zero"), "IO_NOT_REGULAR");
  EXPECT_EQ(code_of_mapping(folder / "missing"), "IO_NOT_FOUND");
}

TEST(ReadFileTest, AFileOverTheLimitIsRefused) {
  const TemporaryFolder folder;
  write_text(folder / "a", "12345");
  EXPECT_EQ(read_file(folder / "a", 5), "12345");
  EXPECT_THROW(read_file(folder / "a", 4), Error);
}

TEST(ReadFileTest, FilesThatSayTheyAreEmptyAreReadToTheirEnd) {
  EXPECT_TRUE(read_file("/proc/self/stat").starts_with(std::to_string(getpid()) + " "));
  const TemporaryFolder folder;
  write_text(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "empty"), "");
}

}  // namespace
}  // namespace tender
