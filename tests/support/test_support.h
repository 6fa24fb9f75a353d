#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>

namespace tender::testing {

/// A folder of its own for each test, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Root of the sources, for golden files that are committed.
std::filesystem::path source_path(const std::string& relative);

/// A file of the shared data: $TENDER_DATA/relative, else ../shared/data/relative beside the
/// checkout. Nothing if it is absent: the test is skipped and says what it misses.
std::optional<std::filesystem::path> data_path(const std::string& relative);

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

}  // namespace tender::testing

/// Skips the test, visibly, where a file of the shared data is absent.
#define TENDER_DATA_OR_SKIP(variable, relative)                                    \
  const auto variable##_found = ::tender::testing::data_path(relative);            \
  if (!variable##_found)                                                           \
    GTEST_SKIP() << "needs " << (relative) << " of the shared data (TENDER_DATA)"; \
  const std::filesystem::path variable = *variable##_found
