#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"

/// Makes good and bad model files for tests, byte by byte, without the code that reads them.
namespace tender::io::testing {

using tender::testing::TemporaryFolder;
using tender::testing::write_text;

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// A safetensors file with this header and so many bytes of data; `length` is what it says of its
/// header.
inline std::string safetensors_file(std::string_view header, std::size_t data_bytes,
                                    std::optional<std::uint64_t> length = std::nullopt) {
  return raw(length.value_or(header.size())) + std::string(header) + std::string(data_bytes, '\1');
}

/// Ids of value types in GGUF.
enum GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

/// A GGUF file, good unless it is told otherwise.
class GgufFile {
 public:
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count;  ///< what the header says, where that is a lie
  std::optional<std::uint64_t> key_count;
  std::uint64_t alignment = 32;

  static std::string text(std::string_view value) {
    return raw<std::uint64_t>(value.size()) + std::string(value);
  }

  GgufFile& key(std::string_view name, std::uint32_t type, const std::string& value) {
    keys_ += text(name) + raw(type) + value;
    ++keys_given_;
    return *this;
  }
  GgufFile& u32(std::string_view name, std::uint32_t value) { return key(name, kU32, raw(value)); }
  GgufFile& u16(std::string_view name, std::uint16_t value) { return key(name, kU16, raw(value)); }
  GgufFile& string(std::string_view name, std::string_view value) {
    return key(name, kString, text(value));
  }
  GgufFile& array(std::string_view name, std::uint32_t type, std::uint64_t count,
                  const std::string& elements) {
    return key(name, kArray, raw(type) + raw(count) + elements);
  }

  /// A tensor of `bytes` bytes, each `fill`; `dims` fastest first; `offset` where it is a lie.
  GgufFile& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::int32_t type,
                   std::size_t bytes, char fill = '\2',
                   std::optional<std::uint64_t> offset = std::nullopt) {
    infos_ += text(name) + raw(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t extent : dims) infos_ += raw(extent);
    data_.resize(round_up(data_.size(), alignment), '\0');
    infos_ += raw(type) + raw(offset.value_or(data_.size()));
    data_ += std::string(bytes, fill);
    ++tensors_given_;
    return *this;
  }
  /// A tensor of these bytes.
  GgufFile& stored(std::string_view name, const std::vector<std::uint64_t>& dims, std::int32_t type,
                   std::string_view bytes) {
    tensor(name, dims, type, bytes.size());
    data_.replace(data_.size() - bytes.size(), bytes.size(), bytes);
    return *this;
  }
  /// A tensor of float32 numbers.
  GgufFile& floats(std::string_view name, const std::vector<std::uint64_t>& dims,
                   const std::vector<float>& values) {
    tensor(name, dims, 0, values.size() * sizeof(float));
    std::memcpy(data_.data() + data_.size() - values.size() * sizeof(float), values.data(),
                values.size() * sizeof(float));
    return *this;
  }

  std::string bytes() const {
    std::string file = magic + raw(version) + raw(tensor_count.value_or(tensors_given_)) +
                       raw(key_count.value_or(keys_given_)) + keys_ + infos_;
    if (!data_.empty()) file.resize(round_up(file.size(), alignment), '\0');
    return file + data_;
  }

 private:
  std::string keys_;
  std::string infos_;
  std::string data_;
  std::uint64_t keys_given_ = 0;
  std::uint64_t tensors_given_ = 0;
};

inline GgufFile gguf_file() {
  GgufFile file;
  file.string("general.architecture", "llama");
  return file;
}

/// One row of the tables of bad files.
struct BadFile {
  const char* name;  ///< row of the table and what is wrong
  const char* code;
  std::string bytes;
};
inline void PrintTo(const BadFile& file, std::ostream* out) { *out << file.name; }

/// Opens `path`, which must be refused with `code`, and holds the message to the form of all
/// messages.
inline void expect_refused(const std::filesystem::path& path, std::string_view code,
                           Need need = Need::model) {
  try {
    open_checkpoint(path, need);
    ADD_FAILURE() << path << " was accepted; expected " << code;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(error.kind(), ErrorKind::invalid_argument);
    EXPECT_FALSE(error.details().file.empty());
    EXPECT_FALSE(error.details().found.empty()) << error.what();
    EXPECT_FALSE(error.details().hint.empty()) << error.what();
    EXPECT_EQ(std::string_view(error.what()).substr(0, error.details().file.size()),
              error.details().file);
    EXPECT_LT(error.sentence().size(), 2000U);
    for (const char c : error.sentence()) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
  }
}

}  // namespace tender::io::testing
