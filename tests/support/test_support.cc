#include "tests/support/test_support.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace tender::testing {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> count{0};
  path_ = fs::temp_directory_path() /
          ("tender-test-" + std::to_string(getpid()) + "-" + std::to_string(count++));
  fs::remove_all(path_);
  fs::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path source_path(const std::string& relative) { return fs::path(TENDER_SOURCE_DIR) / relative; }

std::optional<fs::path> data_path(const std::string& relative) {
  const char* given = std::getenv("TENDER_DATA");
  const fs::path root = given != nullptr ? fs::path(given) : source_path("../shared/data");
  if (fs::exists(root / relative)) return root / relative;
  return std::nullopt;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace tender::testing
