#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "base/progress.h"

namespace tender::compress {

/// What to do with bytes that no text holds: NUL, and what is not UTF-8.
enum class InvalidText : std::uint8_t {
  refuse,
  replace,  ///< each such byte becomes U+FFFD
};

/// A text as it lies on disk, mapped; a copy only where bytes had to be replaced.
class TextFile {
 public:
  /// A remark on carriage returns or replaced bytes goes to `progress`.
  /// @throws Error invalid_input TXT_UTF8 with the offset of the first bad byte; IO_… of MappedFile
  TextFile(const std::filesystem::path& path, InvalidText invalid, Progress& progress);

  std::string_view text() const { return replaced_ > 0 ? std::string_view(copy_) : file_.text(); }
  std::string name() const { return file_.name(); }
  const std::filesystem::path& path() const { return file_.path(); }
  /// SHA-256 of the bytes on disk.
  std::string sha256() const;
  /// Lines end in CR LF. They are kept: a protocol scores the exact bytes.
  bool carriage_returns() const { return carriage_returns_; }
  std::size_t replaced() const { return replaced_; }

 private:
  MappedFile file_;
  std::string copy_;
  std::size_t replaced_ = 0;
  bool carriage_returns_ = false;
};

}  // namespace tender::compress
