#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tender::io {

/// What is being read, for messages; put into words only where one is needed.
struct Item {
  Item(const char* only_kind) : kind(only_kind) {}  // NOLINT(google-explicit-constructor): a label
  Item(std::string_view its_kind, std::string_view its_name) : kind(its_kind), name(its_name) {}

  std::string_view kind;
  std::string_view name{};

  /// What programs are told: the name alone, where there is one.
  std::string subject() const { return std::string(name.data() == nullptr ? kind : name); }

  /// What people are told.
  std::string text() const {
    if (name.data() == nullptr) return std::string(kind);
    return std::string(kind) + " " + quote(name);
  }
};

/// Bytes of a GGUF file from front to back; every read asks need() first.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(file) {}

  std::uint64_t position() const { return at_; }
  void seek(std::uint64_t position) { at_ = position; }
  std::uint64_t left() const { return bytes_.size() - at_; }
  const std::string& file() const { return file_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Fails with GG_TRUNCATED unless `count` bytes are left.
  void need(std::uint64_t count, const Item& what) const {
    if (count <= left()) return;
    fail(ErrorKind::corrupt_file,
         {.code = "GG_TRUNCATED",
          .file = file_,
          .offset = at_,
          .item = what.subject(),
          .found = fmt::format("{} bytes", left()),
          .expected = fmt::format("{} bytes", count),
          .hint = "the file was cut short; get it again"},
         "ends within {}: {} bytes are left of {}", what.text(), left(), count);
  }

  /// A little-endian number.
  template <class T>
  T read(const Item& what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  /// A length and so many bytes, not beyond the end (GG_STRING).
  std::string_view string(const Item& what) {
    const std::uint64_t begin = at_;
    const auto length = read<std::uint64_t>(what);
    if (length > left())
      fail(ErrorKind::corrupt_file,
           {.code = "GG_STRING",
            .file = file_,
            .offset = begin,
            .item = what.subject(),
            .found = fmt::format("{} bytes", length),
            .expected = fmt::format("at most {} bytes", left()),
            .hint = "the file is damaged or was cut short; get it again"},
           "{} is a string of {} bytes, but {} are left", what.text(), length, left());
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  void skip(std::uint64_t count, const Item& what) {
    need(count, what);
    at_ += count;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::uint64_t at_ = 0;
};

}  // namespace tender::io
