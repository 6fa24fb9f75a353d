#include "io/safetensors/safetensors_structure.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "io/json_cursor.h"
#include "io/name_index.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kMaxName = 4096;
constexpr std::size_t kMaxRank = 8;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kDamaged = "the file is damaged or not a safetensors file";

using Integer = JsonCursor::Integer;

std::string_view in_words(Integer kind) {
  switch (kind) {
    case Integer::good:
      return "an integer";
    case Integer::negative:
      return "a negative number";
    case Integer::fractional:
      return "a fraction";
    case Integer::too_large:
      return "a number above 2^63 - 1";
    case Integer::not_a_number:
      return "no number";
  }
  return "";
}

/// One tensor as the first pass keeps it; name and shape are read again when all are known to be
/// good.
struct Entry {
  std::uint32_t key_at;  ///< in the header
  std::uint64_t begin;
  std::uint64_t end;
};

/// How many members of so many bytes a header can hold; what an index is made for.
std::size_t room(std::string_view header, std::size_t least_bytes) {
  return std::min<std::size_t>(header.size() / least_bytes + 1, kMaxTensors);
}

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes),
        file_(file),
        header_(header()),
        cursor_(header_, file, "ST_HEADER_JSON", kLengthBytes),
        keys_(cursor_),
        data_bytes_(bytes.size() - kLengthBytes - header_.size()) {}

  SafetensorsStructure parse() {
    check_entries();
    check_layout();
    return keep();
  }

 private:
  [[noreturn]] void refuse(const char* code, std::optional<std::uint64_t> offset, std::string item,
                           std::string found, std::string expected,
                           std::string_view hint = kDamaged) const {
    const std::string subject = item.empty() ? "" : "tensor " + quote(item) + ": ";
    const std::string sentence = subject + "found " + found + ", expected " + expected;
    fail(ErrorKind::corrupt_file,
         {.code = code,
          .file = file_,
          .offset = offset,
          .item = std::move(item),
          .found = std::move(found),
          .expected = std::move(expected),
          .hint = std::string(hint)},
         "{}", sentence);
  }

  std::string_view header() const;
  void check_entries();
  void check_name(std::string_view name) const;
  void check_metadata();
  void check_layout();
  void check_neighbours(const std::vector<std::uint32_t>& order);
  TensorInfo tensor(const std::string& name, Entry& entry);
  DType dtype(const std::string& name);
  Shape shape(const std::string& name);
  void offsets(const std::string& name, Entry& entry);
  void check_size(const TensorInfo& tensor, const Entry& entry) const;
  std::string_view key_at(std::uint32_t position);
  SafetensorsStructure keep();

  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::string_view header_;
  JsonCursor cursor_;
  JsonCursor keys_;  ///< reads keys again while cursor_ walks
  std::uint64_t data_bytes_;
  std::vector<Entry> entries_;
  std::optional<std::uint32_t> metadata_at_;  ///< of its key
};

std::string_view HeaderParser::header() const {
  if (bytes_.size() < kLengthBytes)
    refuse("ST_TOO_SHORT", std::nullopt, "", fmt::format("a file of {} bytes", bytes_.size()),
           "at least 8");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes_.data(), kLengthBytes);
  const std::string found = fmt::format("a header of {} bytes", length);
  if (length > kMaxHeader)
    refuse("ST_HEADER_TOO_LARGE", 0, "", found, fmt::format("at most {}", kMaxHeader));
  if (length > bytes_.size() - kLengthBytes)
    refuse("ST_HEADER_PAST_END", 0, "", found,
           fmt::format("at most the {} bytes that follow", bytes_.size() - kLengthBytes),
           "the file was cut short; get it again");
  if (length == 0) refuse("ST_HEADER_EMPTY", 0, "", found, "a JSON object");
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + kLengthBytes, length);
  if (text.front() != '{')
    refuse("ST_HEADER_NOT_OBJECT", kLengthBytes, "",
           "a header that begins with " + quote(text.substr(0, 1)), "'{'");
  if (const auto bad = first_invalid_utf8(text))
    refuse("ST_HEADER_UTF8", kLengthBytes + *bad, "", "a header with bytes that are no UTF-8",
           "UTF-8");
  return text;
}

std::string_view HeaderParser::key_at(std::uint32_t position) {
  keys_.seek(position);
  return keys_.string();
}

void HeaderParser::check_entries() {
  constexpr std::size_t kLeastEntry = 48;  // "":{"dtype":"F4","shape":[],"data_offsets":[0,0]}
  NameIndex names(room(header_, kLeastEntry));
  cursor_.object([&](std::string_view name) {
    const auto at = static_cast<std::uint32_t>(cursor_.key_position());
    if (name == kMetadata) {
      if (metadata_at_)
        refuse("ST_DUPLICATE_KEY", kLengthBytes + at, "", "'__metadata__' twice", "unique keys");
      metadata_at_ = at;
      check_metadata();
      return;
    }
    check_name(name);
    if (entries_.size() == kMaxTensors)
      refuse("ST_TOO_MANY_TENSORS", kLengthBytes + at, "",
             fmt::format("more than {} tensors", kMaxTensors),
             fmt::format("at most {}", kMaxTensors));
    entries_.push_back({at, 0, 0});
    const auto index = static_cast<std::uint32_t>(entries_.size() - 1);
    if (names.insert(name, index, [&](std::uint32_t i) { return key_at(entries_[i].key_at); }))
      refuse("ST_DUPLICATE_TENSOR", kLengthBytes + at, std::string(name), "it twice",
             "unique names");
    tensor(std::string(name), entries_.back());
  });
  const std::size_t end = cursor_.position();
  const std::size_t rest = header_.find_first_not_of(' ', end);
  if (rest != std::string_view::npos)
    refuse("ST_HEADER_TRAILING", kLengthBytes + rest, "",
           quote(header_.substr(rest, 1)) + " behind the JSON object", "only spaces");
}

void HeaderParser::check_name(std::string_view name) const {
  const std::uint64_t at = kLengthBytes + cursor_.key_position();
  const auto refuse_name = [&](std::string found) {
    refuse("ST_NAME", at, std::string(name.substr(0, kMaxName)), std::move(found),
           "a printable name of at most 4096 bytes without '..'");
  };
  if (name.size() > kMaxName) refuse_name(fmt::format("a name of {} bytes", name.size()));
  if (name.find("..") != std::string_view::npos) refuse_name("'..' in its name");
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const bool c1 =
        byte == 0xc2 && static_cast<unsigned char>(name[i + 1]) < 0xa0;  // U+0080 to U+009F
    if (byte < 0x20 || byte == 0x7f || c1) refuse_name("a control character in its name");
  }
}

void HeaderParser::check_metadata() {
  const auto refuse_metadata = [&](const char* code, std::string found) {
    refuse(code, cursor_.offset(), "", "a '__metadata__' with " + std::move(found),
           "a map of strings to strings");
  };
  if (cursor_.peek() != '{') {
    cursor_.skip();
    refuse_metadata("ST_METADATA_TYPE", "no object");
  }
  constexpr std::size_t kLeastMember = 6;  // "":"",
  NameIndex names(room(header_, kLeastMember));
  std::vector<std::uint32_t> places;
  cursor_.object([&](std::string_view key) {
    if (places.size() == kMaxTensors) refuse_metadata("ST_METADATA_TYPE", "more than 10^6 members");
    places.push_back(static_cast<std::uint32_t>(cursor_.key_position()));
    const auto index = static_cast<std::uint32_t>(places.size() - 1);
    if (names.insert(key, index, [&](std::uint32_t i) { return key_at(places[i]); }))
      refuse_metadata("ST_DUPLICATE_KEY", quote(key) + " twice");
    if (cursor_.peek() == '"') {
      cursor_.string();
    } else {
      const std::string name(key);
      cursor_.skip();
      refuse_metadata("ST_METADATA_TYPE", "something else than a string under " + quote(name));
    }
  });
}

/// Reads {"dtype", "shape", "data_offsets"} at the cursor and checks all that concerns it alone.
TensorInfo HeaderParser::tensor(const std::string& name, Entry& entry) {
  const std::uint64_t at = cursor_.offset();
  if (cursor_.peek() != '{') {
    cursor_.skip();
    refuse("ST_HEADER_JSON", at, name, "no object", "an object with dtype, shape and data_offsets");
  }
  TensorInfo info;
  info.name = name;
  bool has_dtype = false;
  bool has_shape = false;
  bool has_offsets = false;
  cursor_.object([&](std::string_view key) {
    bool* seen = key == "dtype"          ? &has_dtype
                 : key == "shape"        ? &has_shape
                 : key == "data_offsets" ? &has_offsets
                                         : nullptr;
    const std::uint64_t key_at = kLengthBytes + cursor_.key_position();
    if (seen == nullptr)
      refuse("ST_HEADER_JSON", key_at, name, "the key " + quote(key),
             "dtype, shape and data_offsets");
    if (*seen) refuse("ST_DUPLICATE_KEY", key_at, name, quote(key) + " twice", "unique keys");
    *seen = true;
    if (seen == &has_dtype) info.type = dtype(name);
    if (seen == &has_shape) info.shape = shape(name);
    if (seen == &has_offsets) offsets(name, entry);
  });
  if (!has_dtype || !has_shape || !has_offsets)
    refuse("ST_HEADER_JSON", at, name,
           fmt::format("no {}", !has_dtype   ? "dtype"
                                : !has_shape ? "shape"
                                             : "data_offsets"),
           "dtype, shape and data_offsets");
  check_size(info, entry);
  return info;
}

DType HeaderParser::dtype(const std::string& name) {
  const std::uint64_t at = cursor_.offset();
  if (cursor_.peek() != '"') {
    cursor_.skip();
    refuse("ST_DTYPE", at, name, "a dtype that is no string", "a name such as F32");
  }
  const std::string_view text = cursor_.string();
  for (const DTypeTraits& type : all_dtypes())
    if (type.safetensors && type.name == text) return type.type;
  refuse("ST_DTYPE", at, name, "the dtype " + quote(text),
         "a dtype that safetensors defines, such as F32 or BF16",
         "the file is damaged, or was made by a newer program than this one knows");
}

Shape HeaderParser::shape(const std::string& name) {
  const std::uint64_t at = cursor_.offset();
  if (cursor_.peek() != '[') {
    cursor_.skip();
    refuse("ST_SHAPE", at, name, "a shape that is no array", "an array of integers");
  }
  Shape extents;
  cursor_.array([&] {
    std::uint64_t extent = 0;
    const Integer kind = cursor_.integer(extent);
    if (kind != Integer::good)
      refuse("ST_SHAPE", at, name, fmt::format("{} in its shape", in_words(kind)),
             "integers from 0 to 2^63 - 1");
    if (extents.size() == kMaxRank)
      refuse("ST_RANK", at, name, "more than 8 dimensions", "at most 8");
    extents.push_back(extent);
  });
  if (!element_count(extents))
    refuse("ST_SHAPE_OVERFLOW", at, name, "the shape " + to_string(extents),
           "fewer than 2^48 elements");
  return extents;
}

void HeaderParser::offsets(const std::string& name, Entry& entry) {
  const std::uint64_t at = cursor_.offset();
  if (cursor_.peek() != '[') {
    cursor_.skip();
    refuse("ST_OFFSETS", at, name, "data_offsets that are no array", "[begin, end]");
  }
  std::size_t count = 0;
  cursor_.array([&] {
    std::uint64_t value = 0;
    const Integer kind = cursor_.integer(value);
    if (kind != Integer::good)
      refuse("ST_OFFSETS", at, name, fmt::format("{} in its data_offsets", in_words(kind)),
             "two integers");
    if (count < 2) (count == 0 ? entry.begin : entry.end) = value;
    ++count;
  });
  if (count != 2)
    refuse("ST_OFFSETS", at, name, fmt::format("{} data_offsets", count), "[begin, end]");
  if (entry.begin > entry.end)
    refuse("ST_OFFSETS", at, name, fmt::format("data_offsets [{}, {}]", entry.begin, entry.end),
           "begin <= end");
}

void HeaderParser::check_size(const TensorInfo& tensor, const Entry& entry) const {
  const std::uint64_t at = kLengthBytes + entry.key_at;
  const std::uint64_t bits = tensor.elements() * traits(tensor.type).bits;  // < 2^48 * 2^6
  if (bits % 8 != 0)
    refuse("ST_SUBBYTE", at, tensor.name,
           fmt::format("{} elements of {}", tensor.elements(), to_string(tensor.type)),
           "whole bytes");
  if (bits / 8 != entry.end - entry.begin)
    refuse("ST_SIZE_MISMATCH", at, tensor.name, fmt::format("{} bytes", entry.end - entry.begin),
           fmt::format("{} for {} {}", bits / 8, to_string(tensor.type), to_string(tensor.shape)));
  if (entry.end > data_bytes_)
    refuse("ST_PAST_END", at, tensor.name, fmt::format("an end at byte {} of the data", entry.end),
           fmt::format("at most the {} that the file holds", data_bytes_),
           "the file was cut short; get it again");
}

/// Tensors fill the data without hole and overlap.
void HeaderParser::check_layout() {
  std::vector<std::uint32_t> order(entries_.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(entries_[a].begin, entries_[a].end) <
           std::pair(entries_[b].begin, entries_[b].end);
  };
  if (!std::is_sorted(order.begin(), order.end(), before))
    std::sort(order.begin(), order.end(), before);
  check_neighbours(order);
  const std::uint64_t end = order.empty() ? 0 : entries_[order.back()].end;
  if (end != data_bytes_)
    refuse("ST_TRAILING_BYTES", kLengthBytes + header_.size() + end, "",
           fmt::format("{} bytes behind the last tensor", data_bytes_ - end), "none");
}

void HeaderParser::check_neighbours(const std::vector<std::uint32_t>& order) {
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Entry& entry = entries_[order[i]];
    if (entry.begin != expected) {
      const std::uint64_t at = kLengthBytes + entry.key_at;
      const std::string name(key_at(entry.key_at));
      if (i == 0)
        refuse("ST_OFFSETS", at, name, fmt::format("the first byte of all at {}", entry.begin),
               "0");
      const std::string other(key_at(entries_[order[i - 1]].key_at));
      const std::string found = fmt::format("its begin at byte {}", entry.begin);
      if (entry.begin < expected)
        refuse("ST_OVERLAP", at, name, found + " within tensor " + quote(other),
               fmt::format("{}", expected));
      refuse("ST_HOLE", at, name, found,
             fmt::format("{}, the end of tensor {}", expected, quote(other)));
    }
    expected = entry.end;
  }
}

SafetensorsStructure HeaderParser::keep() {
  SafetensorsStructure result;
  if (metadata_at_) {
    cursor_.seek(*metadata_at_);
    cursor_.string();
    cursor_.colon();
    cursor_.object([&](std::string_view key) {
      std::string name(key);
      result.metadata.emplace(std::move(name), cursor_.string());
    });
  }
  result.tensors.reserve(entries_.size());
  const std::span<const std::byte> data = bytes_.subspan(kLengthBytes + header_.size());
  for (Entry& entry : entries_) {
    cursor_.seek(entry.key_at);
    const std::string name(cursor_.string());
    cursor_.colon();
    result.tensors.push_back(tensor(name, entry));
    result.tensors.back().bytes = data.subspan(entry.begin, entry.end - entry.begin);
  }
  return result;
}

}  // namespace

SafetensorsStructure parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  return HeaderParser(bytes, file).parse();
}

bool looks_like_safetensors(std::span<const std::byte> bytes) {
  if (bytes.size() <= kLengthBytes) return false;
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  return length <= bytes.size() - kLengthBytes && static_cast<char>(bytes[kLengthBytes]) == '{';
}

}  // namespace tender::io
