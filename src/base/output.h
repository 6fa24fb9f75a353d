#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tender {

/// What to do where the output exists already.
enum class Overwrite : std::uint8_t { refuse, replace };

/// A file that appears whole or not at all: written beside its place, flushed, renamed by commit().
class OutputFile {
 public:
  /// @throws Error io (IO_EXISTS, IO_READONLY, IO_NOSPACE, IO_WRITE)
  OutputFile(const std::filesystem::path& place, Overwrite overwrite);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  std::uint64_t written() const { return written_; }
  void commit();

 private:
  std::filesystem::path place_;
  std::filesystem::path side_;
  Overwrite overwrite_;
  int fd_ = -1;
  std::uint64_t written_ = 0;
};

/// A directory that appears whole or not at all. Its files are written under path() and the whole
/// is renamed by commit(); a directory that was there before is replaced in one step, and only if
/// asked. Side directories left by a killed process are removed by the next one.
class OutputDirectory {
 public:
  OutputDirectory(const std::filesystem::path& place, Overwrite overwrite);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  /// Where to write until commit().
  const std::filesystem::path& path() const { return side_; }
  void commit();

 private:
  std::filesystem::path place_;
  std::filesystem::path side_;
  Overwrite overwrite_;
  bool committed_ = false;
};

/// Fails as the constructors above would, before any work is done.
void check_writable(const std::filesystem::path& place, Overwrite overwrite);

}  // namespace tender
