#include "io/gguf/gguf_structure.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/utf8.h"
#include "io/gguf/gguf_reader.h"
#include "io/name_index.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

using Type = GgufValue::Type;

constexpr std::string_view kDamaged = "the file is damaged; get it again";
constexpr std::uint64_t kMaxKeys = 1'000'000;
constexpr std::uint64_t kMaxKeyBytes = 65'535;
constexpr std::uint64_t kMaxTensorName = 63;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::string_view kAlignmentKey = "general.alignment";

struct ValueType {
  std::string_view name;
  std::uint64_t bytes;  ///< least, for strings and arrays
};
constexpr std::array<ValueType, 13> kValueTypes = {{{"u8", 1},
                                                    {"i8", 1},
                                                    {"u16", 2},
                                                    {"i16", 2},
                                                    {"u32", 4},
                                                    {"i32", 4},
                                                    {"f32", 4},
                                                    {"bool", 1},
                                                    {"string", 8},
                                                    {"array", 12},
                                                    {"u64", 8},
                                                    {"i64", 8},
                                                    {"f64", 8}}};
const ValueType& about(Type type) { return kValueTypes[static_cast<std::size_t>(type)]; }

struct KeyPlace {
  std::string_view key;
  std::uint64_t value_at;  ///< offset of the value's type
};

/// What the check of the tensor infos leaves for the check of their extents.
struct TensorPlace {
  std::uint64_t info_at;
  std::uint64_t offset;
  std::uint64_t bytes;
};

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& file)
      : in_(bytes, file), file_(file) {}

  GgufStructure parse() {
    GgufStructure result;
    result.version = header();
    check_keys();
    check_tensors();
    for (const KeyPlace& place : keys_) {
      in_.seek(place.value_at);
      result.metadata.emplace(std::string(place.key), value());
    }
    keep_tensors(result.tensors);
    return result;
  }

 private:
  [[noreturn]] void refuse(const char* code, std::uint64_t offset, const Item& what,
                           std::string found, std::string expected,
                           std::string_view hint = kDamaged) const {
    const std::string item = what.text();
    std::string sentence =
        item + (item.empty() ? "" : ": ") + "found " + found + ", expected " + expected;
    fail(ErrorKind::corrupt_file,
         {.code = code,
          .file = file_,
          .offset = offset,
          .item = what.subject(),
          .found = std::move(found),
          .expected = std::move(expected),
          .hint = std::string(hint)},
         "{}", sentence);
  }

  std::uint32_t header();
  std::uint64_t count(const char* what, std::uint64_t least_bytes, std::uint64_t limit);
  void check_keys();
  std::string_view key();
  void check_value(std::string_view key);
  Type value_type(const Item& item);
  void check_array(const Item& item);
  void check_booleans(std::uint64_t count, const Item& item);
  void check_alignment(const KeyPlace& place);
  void check_tensors();
  std::string_view tensor_name();
  TensorInfo tensor(std::string_view name);
  Shape shape(const Item& item);
  void check_extents();
  void keep_tensors(std::vector<TensorInfo>& out);

  GgufValue value();
  GgufValue array();
  template <class T>
  void integers(std::uint64_t count, std::vector<std::int64_t>& out);
  template <class T>
  void floats(std::uint64_t count, std::vector<double>& out);

  GgufReader in_;
  const std::string& file_;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t key_count_ = 0;
  std::uint64_t alignment_ = kDefaultAlignment;
  std::vector<KeyPlace> keys_;
  std::uint64_t data_begin_ = 0;
  std::vector<TensorPlace> places_;
};

std::uint32_t GgufParser::header() {
  const auto magic = in_.read<std::array<char, 4>>("the magic");
  const std::string_view word(magic.data(), magic.size());
  constexpr std::string_view kBigEndianHint =
      "convert it with a tool that writes little-endian GGUF";
  if (word == "FUGG")
    refuse("GG_ENDIAN", 0, "", "a big-endian file", "little-endian", kBigEndianHint);
  if (word != "GGUF")
    refuse("GG_MAGIC", 0, "", "the first bytes " + quote(word), "'GGUF'",
           "this is not a GGUF file");
  const auto version = in_.read<std::uint32_t>("the version");
  if (version != 0 && (version & 0xffffU) == 0)
    refuse("GG_ENDIAN", 4, "", "a big-endian file", "little-endian", kBigEndianHint);
  if (version != 2 && version != 3)
    fail(ErrorKind::unsupported,
         {.code = "GG_VERSION",
          .file = file_,
          .offset = 4,
          .found = std::to_string(version),
          .expected = "2 or 3",
          .hint = "convert the model again with a current tool"},
         "has GGUF version {}: expected 2 or 3", version);
  // Least records: name length, dimensions, one dimension, type, offset; key length, one byte,
  // type, one byte.
  const std::uint64_t counts_at = in_.position();
  in_.need(16, "the counts");
  const auto tensors = in_.read<std::uint64_t>("the tensor count");
  key_count_ = count("key", 8 + 1 + 4 + 1, kMaxKeys);
  if (tensors > in_.left() / (8 + 1 + 4 + 8 + 4 + 8) || tensors > kMaxTensors)
    refuse("GG_COUNT", counts_at, "", fmt::format("{} tensors", tensors),
           fmt::format("at most {}, and no more than the bytes of the file hold", kMaxTensors));
  tensor_count_ = tensors;
  return version;
}

std::uint64_t GgufParser::count(const char* what, std::uint64_t least_bytes, std::uint64_t limit) {
  const std::uint64_t at = in_.position();
  const auto found = in_.read<std::uint64_t>(what);
  if (found > in_.left() / least_bytes || found > limit)
    refuse("GG_COUNT", at, "", fmt::format("{} {}s", found, what),
           fmt::format("at most {}, and no more than the bytes of the file hold", limit));
  return found;
}

void GgufParser::check_keys() {
  keys_.reserve(static_cast<std::size_t>(key_count_));
  NameIndex names(static_cast<std::size_t>(key_count_));
  for (std::uint32_t i = 0; i < key_count_; ++i) {
    const std::uint64_t at = in_.position();
    const std::string_view name = key();
    keys_.push_back({name, in_.position()});
    if (names.insert(name, i, [&](std::uint32_t n) { return keys_[n].key; }))
      refuse("GG_DUPLICATE_KEY", at, Item("key", name), "it twice", "unique keys");
    check_value(name);
    if (name == kAlignmentKey) check_alignment(keys_.back());
  }
}

std::string_view GgufParser::key() {
  const std::uint64_t at = in_.position();
  const std::string_view name = in_.string("a key");
  if (name.empty()) refuse("GG_KEY", at, "", "an empty key", "1 to 65535 bytes of ASCII");
  if (name.size() > kMaxKeyBytes)
    refuse("GG_KEY", at, Item("key", name), fmt::format("{} bytes", name.size()),
           "at most 65535 bytes");
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)
      refuse("GG_KEY", at, Item("key", name), "a byte that is not printable", "ASCII");
  return name;
}

Type GgufParser::value_type(const Item& item) {
  const std::uint64_t at = in_.position();
  const auto id = in_.read<std::uint32_t>(item);
  if (id >= kValueTypes.size())
    refuse("GG_VALUE_TYPE", at, item, fmt::format("value type {}", id), "0 to 12");
  return static_cast<Type>(id);
}

void GgufParser::check_value(std::string_view name) {
  const Item item("key", name);
  const Type type = value_type(item);
  if (type == Type::string)
    in_.string(item);
  else if (type == Type::array)
    check_array(item);
  else if (type == Type::boolean)
    check_booleans(1, item);
  else
    in_.skip(about(type).bytes, item);
}

void GgufParser::check_array(const Item& item) {
  const std::uint64_t at = in_.position();
  const Type element = value_type(item);
  if (element == Type::array)
    refuse("GG_NESTED_ARRAY", at, item, "an array of arrays", "a flat array",
           "no known writer makes such files; it is damaged or hostile");
  const auto elements = in_.read<std::uint64_t>(item);
  if (elements > in_.left() / about(element).bytes)
    refuse("GG_ARRAY", at, item, fmt::format("an array of {} {}", elements, about(element).name),
           fmt::format("at most {} bytes", in_.left()),
           "the file is damaged or was cut short; get it again");
  if (element == Type::string) {
    for (std::uint64_t i = 0; i < elements; ++i) in_.string(item);
  } else if (element == Type::boolean) {
    check_booleans(elements, item);
  } else {
    in_.skip(elements * about(element).bytes, item);
  }
}

void GgufParser::check_booleans(std::uint64_t elements, const Item& item) {
  for (std::uint64_t i = 0; i < elements; ++i) {
    const std::uint64_t at = in_.position();
    const auto byte = in_.read<std::uint8_t>(item);
    if (byte > 1) refuse("GG_BOOL", at, item, fmt::format("the truth value {}", byte), "0 or 1");
  }
}

void GgufParser::check_alignment(const KeyPlace& place) {
  const std::uint64_t after = in_.position();
  in_.seek(place.value_at);
  const Item item("key", place.key);
  const Type type = value_type(item);
  if (type != Type::u32)
    refuse("GG_ALIGNMENT", place.value_at, item, std::string(about(type).name), "a u32");
  const auto alignment = in_.read<std::uint32_t>(item);
  if (alignment < 8 || alignment > 1U << 20U || (alignment & (alignment - 1)) != 0)
    refuse("GG_ALIGNMENT", place.value_at, item, std::to_string(alignment),
           "a power of two from 8 to 2^20");
  alignment_ = alignment;
  in_.seek(after);
}

void GgufParser::check_tensors() {
  places_.reserve(static_cast<std::size_t>(tensor_count_));
  NameIndex names(static_cast<std::size_t>(tensor_count_));
  const auto name_of = [this](std::uint32_t i) {
    GgufReader at(in_.bytes(), file_);
    at.seek(places_[i].info_at);
    return at.string("");
  };
  for (std::uint32_t i = 0; i < tensor_count_; ++i) {
    const std::uint64_t at = in_.position();
    const std::string_view name = tensor_name();
    places_.push_back({at, 0, 0});
    if (names.insert(name, i, name_of))
      refuse("GG_DUPLICATE_TENSOR", at, Item("tensor", name), "it twice", "unique names");
    const TensorInfo info = tensor(name);
    const DTypeTraits& type = traits(info.type);
    places_.back().bytes = info.elements() / type.block * (type.bits / 8);  // < 2^48 * 2^9
    places_.back().offset = in_.read<std::uint64_t>(Item("tensor", name));
  }
  check_extents();
}

std::string_view GgufParser::tensor_name() {
  const std::uint64_t at = in_.position();
  const std::string_view name = in_.string("a tensor name");
  const Item item("tensor", name);
  if (name.empty() || name.size() > kMaxTensorName)
    refuse("GG_TENSOR_NAME", at, item, fmt::format("{} bytes", name.size()), "1 to 63 bytes");
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      refuse("GG_TENSOR_NAME", at, item, "a control character", "printable UTF-8");
  if (first_invalid_utf8(name))
    refuse("GG_TENSOR_NAME", at, item, "bytes that are no UTF-8", "printable UTF-8");
  return name;
}

Shape GgufParser::shape(const Item& item) {
  const std::uint64_t at = in_.position();
  const auto rank = in_.read<std::uint32_t>(item);
  if (rank < 1 || rank > 4)
    refuse("GG_NDIMS", at, item, fmt::format("{} dimensions", rank), "1 to 4");
  in_.need(rank * sizeof(std::uint64_t), item);
  Shape extents(rank);
  for (std::uint64_t& extent : extents) extent = in_.read<std::uint64_t>(item);
  std::reverse(extents.begin(), extents.end());
  const bool has_zero = std::find(extents.begin(), extents.end(), 0U) != extents.end();
  if (has_zero || !element_count(extents))
    refuse("GG_SHAPE", at, item, to_string(extents),
           "positive dimensions, fewer than 2^48 elements");
  return extents;
}

TensorInfo GgufParser::tensor(std::string_view name) {
  const Item item("tensor", name);
  TensorInfo info;
  info.name = name;
  info.shape = shape(item);
  const std::uint64_t at = in_.position();
  const auto id = in_.read<std::int32_t>(item);
  const auto types = all_dtypes();
  const auto type = std::find_if(types.begin(), types.end(),
                                 [&](const DTypeTraits& t) { return t.gguf_id == id; });
  if (type == types.end())
    fail(ErrorKind::unsupported,
         {.code = "GG_TENSOR_TYPE",
          .file = file_,
          .offset = at,
          .item = std::string(name),
          .found = fmt::format("type id {}", id),
          .expected = "a type that GGUF defines today",
          .hint = "the type was removed or is too new; convert the model again"},
         "{} has the type id {}, which is unknown or was removed from the format", item.text(), id);
  info.type = type->type;
  if (info.shape.back() % type->block != 0)
    refuse("GG_BLOCK", at, item, fmt::format("rows of {} in {}", info.shape.back(), type->name),
           fmt::format("a multiple of {}", type->block));
  return info;
}

/// Tensors follow one another, each begins at the alignment, and none ends behind the file.
void GgufParser::check_extents() {
  if (tensor_count_ == 0) return;
  const auto file_bytes = static_cast<std::uint64_t>(in_.bytes().size());
  data_begin_ = checked_align(in_.position(), alignment_).value_or(file_bytes);
  std::uint64_t expected = 0;
  for (const TensorPlace& place : places_) {
    const std::uint64_t offset = place.offset;
    const std::uint64_t size = place.bytes;
    const auto refuse_tensor = [&](const char* code, std::string found, std::string wanted) {
      in_.seek(place.info_at);
      refuse(code, place.info_at, Item("tensor", tensor_name()), std::move(found),
             std::move(wanted), "the file is damaged or was cut short; get it again");
    };
    if (offset % alignment_ != 0)
      refuse_tensor("GG_OFFSET", fmt::format("offset {}", offset),
                    fmt::format("a multiple of {}", alignment_));
    if (offset != expected)
      refuse_tensor("GG_OFFSET", fmt::format("offset {}", offset),
                    fmt::format("{}, behind the tensor before it", expected));
    const auto start = checked_add(data_begin_, offset);
    const auto end = start ? checked_add(*start, size) : std::nullopt;
    if (!end || *end > file_bytes)
      refuse_tensor("GG_TRUNCATED", fmt::format("a file of {} bytes", file_bytes),
                    end ? fmt::format("at least {} bytes", *end) : "an end below 2^64");
    // The padding behind the last tensor may be missing; another tensor is held to it above.
    expected = checked_align(offset + size, alignment_).value_or(UINT64_MAX);
  }
}

// From here on everything was checked: values are read to be kept.

void GgufParser::keep_tensors(std::vector<TensorInfo>& out) {
  out.reserve(places_.size());
  for (const TensorPlace& place : places_) {
    in_.seek(place.info_at);
    out.push_back(tensor(tensor_name()));
    out.back().bytes = in_.bytes().subspan(data_begin_ + place.offset, place.bytes);
  }
}

template <class T>
void GgufParser::integers(std::uint64_t elements, std::vector<std::int64_t>& out) {
  out.reserve(elements);
  for (std::uint64_t i = 0; i < elements; ++i)
    out.push_back(static_cast<std::int64_t>(in_.read<T>("")));
}

template <class T>
void GgufParser::floats(std::uint64_t elements, std::vector<double>& out) {
  out.reserve(elements);
  for (std::uint64_t i = 0; i < elements; ++i) out.push_back(static_cast<double>(in_.read<T>("")));
}

GgufValue GgufParser::value() {
  GgufValue result;
  result.type = value_type("");
  switch (result.type) {
    case Type::u8:
      result.value = std::uint64_t{in_.read<std::uint8_t>("")};
      break;
    case Type::u16:
      result.value = std::uint64_t{in_.read<std::uint16_t>("")};
      break;
    case Type::u32:
      result.value = std::uint64_t{in_.read<std::uint32_t>("")};
      break;
    case Type::u64:
      result.value = in_.read<std::uint64_t>("");
      break;
    case Type::i8:
      result.value = std::int64_t{in_.read<std::int8_t>("")};
      break;
    case Type::i16:
      result.value = std::int64_t{in_.read<std::int16_t>("")};
      break;
    case Type::i32:
      result.value = std::int64_t{in_.read<std::int32_t>("")};
      break;
    case Type::i64:
      result.value = in_.read<std::int64_t>("");
      break;
    case Type::f32:
      result.value = double{in_.read<float>("")};
      break;
    case Type::f64:
      result.value = in_.read<double>("");
      break;
    case Type::boolean:
      result.value = in_.read<std::uint8_t>("") == 1;
      break;
    case Type::string:
      result.value = std::string(in_.string(""));
      break;
    case Type::array:
      return array();
  }
  return result;
}

GgufValue GgufParser::array() {
  GgufValue result;
  result.type = Type::array;
  result.element = value_type("");
  const auto elements = in_.read<std::uint64_t>("");
  std::vector<std::int64_t> whole;
  std::vector<double> real;
  switch (result.element) {
    case Type::u8:
      integers<std::uint8_t>(elements, whole);
      break;
    case Type::i8:
      integers<std::int8_t>(elements, whole);
      break;
    case Type::u16:
      integers<std::uint16_t>(elements, whole);
      break;
    case Type::i16:
      integers<std::int16_t>(elements, whole);
      break;
    case Type::u32:
      integers<std::uint32_t>(elements, whole);
      break;
    case Type::i32:
      integers<std::int32_t>(elements, whole);
      break;
    case Type::u64:
      integers<std::uint64_t>(elements, whole);
      break;
    case Type::i64:
      integers<std::int64_t>(elements, whole);
      break;
    case Type::boolean:
      integers<std::uint8_t>(elements, whole);
      break;
    case Type::f32:
      floats<float>(elements, real);
      break;
    case Type::f64:
      floats<double>(elements, real);
      break;
    case Type::array:
      break;  // refused by check_array()
    case Type::string: {
      std::vector<std::string> texts;
      texts.reserve(elements);
      for (std::uint64_t i = 0; i < elements; ++i) texts.emplace_back(in_.string(""));
      result.value = std::move(texts);
      return result;
    }
  }
  if (result.element == Type::f32 || result.element == Type::f64)
    result.value = std::move(real);
  else
    result.value = std::move(whole);
  return result;
}

}  // namespace

GgufStructure parse_gguf(std::span<const std::byte> bytes, const std::string& file) {
  return GgufParser(bytes, file).parse();
}

bool looks_like_gguf(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return false;
  const std::string_view magic(reinterpret_cast<const char*>(bytes.data()), 4);
  return magic == "GGUF" || magic == "FUGG";
}

std::string describe_type(const GgufValue& value) {
  const std::string name(about(value.type).name);
  return value.type == Type::array ? name + " of " + std::string(about(value.element).name) : name;
}

}  // namespace tender::io
