#include "base/file_hash.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/hash.h"
#include "tests/support/test_support.h"

namespace tender {
namespace {

TEST(FileHashTest, EqualsTheHashOfTheBytesAlsoOverSeveralSlices) {
  const testing::TemporaryFolder folder;
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, (std::size_t{16} << 20U) + 3}) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13U);
    testing::write_text(folder / "file", bytes);
    EXPECT_EQ(sha256_of_file(folder / "file"), sha256_hex(bytes));
  }
}

TEST(FileHashTest, AMissingFileIsRefused) { EXPECT_THROW(sha256_of_file("/no/such/file"), Error); }

}  // namespace
}  // namespace tender
