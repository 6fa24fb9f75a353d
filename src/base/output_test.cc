#include "base/output.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/error.h"
#include "tests/support/test_support.h"

namespace tender {
namespace {

using testing::read_text;
using testing::TemporaryFolder;
using testing::write_text;
namespace fs = std::filesystem;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

template <class F>
std::string code_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

TEST(OutputFileTest, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  {
    OutputFile file(folder / "a", Overwrite::refuse);
    file.write("half");
    EXPECT_FALSE(fs::exists(folder / "a"));
  }
  EXPECT_EQ(entries(folder.path()), 0U) << "an abandoned file leaves nothing";
  OutputFile file(folder / "a", Overwrite::refuse);
  file.write("whole");
  file.commit();
  EXPECT_EQ(read_text(folder / "a"), "whole");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(OutputFileTest, AnExistingFileIsReplacedOnlyIfAsked) {
  const TemporaryFolder folder;
  write_text(folder / "a", "old");
  EXPECT_EQ(code_of([&] { OutputFile(folder / "a", Overwrite::refuse); }), "IO_EXISTS");
  OutputFile file(folder / "a", Overwrite::replace);
  file.write("new");
  EXPECT_EQ(read_text(folder / "a"), "old");
  file.commit();
  EXPECT_EQ(read_text(folder / "a"), "new");
}

TEST(OutputFileTest, AFileThatAppearsMeanwhileIsNotOverwritten) {
  const TemporaryFolder folder;
  OutputFile file(folder / "a", Overwrite::refuse);
  write_text(folder / "a", "somebody else's");
  EXPECT_EQ(code_of([&] { file.commit(); }), "IO_EXISTS");
  EXPECT_EQ(read_text(folder / "a"), "somebody else's");
}

TEST(OutputDirectoryTest, AppearsWholeAndReplacesInOneStep) {
  const TemporaryFolder folder;
  for (const std::string text : {"first", "second"}) {
    OutputDirectory out(folder / "model", text == "first" ? Overwrite::refuse : Overwrite::replace);
    write_text(out.path() / "config.json", text);
    out.commit();
    EXPECT_EQ(read_text(folder / "model" / "config.json"), text);
    EXPECT_EQ(entries(folder.path()), 1U);
  }
  EXPECT_EQ(code_of([&] { OutputDirectory(folder / "model", Overwrite::refuse); }), "IO_EXISTS");
}

TEST(OutputDirectoryTest, AFolderOfOtherThingsIsNeverReplaced) {
  const TemporaryFolder folder;
  for (const std::string name : {"notes.odt", "sub/config.json"}) {
    const fs::path place = folder / "work";
    fs::remove_all(place);
    fs::create_directories((place / name).parent_path());
    write_text(place / "config.json", "{}");
    write_text(place / name, "precious");
    EXPECT_EQ(code_of([&] { OutputDirectory(place, Overwrite::replace); }), "IO_EXISTS") << name;
    EXPECT_EQ(read_text(place / name), "precious");
  }
  write_text(folder / "file", "x");
  EXPECT_EQ(code_of([&] { OutputDirectory(folder / "file", Overwrite::replace); }), "IO_EXISTS");
  EXPECT_EQ(entries(folder.path()), 2U);
}

TEST(OutputDirectoryTest, WhatAKilledProcessLeftIsRemovedByTheNext) {
  const TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    OutputDirectory out(folder / "model", Overwrite::refuse);
    write_text(out.path() / "part", "x");
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(fs::exists(folder / "model"));
  EXPECT_EQ(entries(folder.path()), 1U) << "the side directory of the dead process";
  OutputDirectory out(folder / "model", Overwrite::refuse);
  out.commit();
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_TRUE(fs::is_directory(folder / "model"));
}

TEST(OutputTest, PlacesThatCannotBeWrittenAreRefusedBeforeWorkStarts) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of([&] { check_writable(folder / "missing" / "a", Overwrite::refuse); }),
            "IO_WRITE");
  EXPECT_EQ(code_of([&] { check_writable("", Overwrite::refuse); }), "IO_PATH");
  EXPECT_EQ(code_of([&] { check_writable("/", Overwrite::refuse); }), "IO_PATH");
  EXPECT_EQ(code_of([&] { check_writable(folder / "new" / "", Overwrite::refuse); }), "");
  EXPECT_EQ(code_of([] { OutputFile file("/proc/a", Overwrite::refuse); }).substr(0, 3), "IO_");
}

}  // namespace
}  // namespace tender
