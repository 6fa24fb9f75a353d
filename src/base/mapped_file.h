#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tender {

/// A regular file, mapped read-only. Opening never blocks and never allocates by the file's size.
class MappedFile {
 public:
  /// @throws Error not_found (IO_NOT_FOUND), io (IO_NOT_REGULAR, IO_READ)
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const;
  const std::filesystem::path& path() const { return path_; }
  /// File name without its folder, for messages.
  std::string name() const { return path_.filename().string(); }

  /// Tells the system that these bytes of the mapping will not be read again soon, so that they
  /// do not count as resident. The bytes stay readable.
  static void release(std::span<const std::byte> part);

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A whole small file; larger than `limit` is `invalid_input` (IO_TOO_LARGE).
std::string read_file(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30U);

}  // namespace tender
