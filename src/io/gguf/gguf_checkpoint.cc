#include "io/gguf/gguf_checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "io/gguf/gguf_structure.h"
#include "io/listed.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxParts = 99'999;  // five digits in the names
constexpr std::string_view kSplitKeys = "split.";

/// How a part of a split model is called: "<prefix>-00002-of-00003.gguf", counted from 1.
struct PartName {
  std::string prefix;
  std::int64_t number = 0;
  std::int64_t count = 0;

  std::string of(std::int64_t part) const {
    return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, part, count);
  }
};

std::optional<PartName> parse_part_name(const std::string& name) {
  constexpr std::string_view kTail = "-00000-of-00000.gguf";
  if (name.size() <= kTail.size()) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kTail.size());
  PartName part{name.substr(0, name.size() - kTail.size())};
  const auto digits = [&](std::size_t at, std::int64_t& value) {
    const auto [end, error] = std::from_chars(tail.data() + at, tail.data() + at + 5, value);
    return error == std::errc() && end == tail.data() + at + 5;
  };
  if (!digits(1, part.number) || !digits(10, part.count) || part.of(part.number) != name)
    return std::nullopt;
  return part;
}

/// What the keys of a part say of the whole.
struct SplitKeys {
  std::int64_t number = 0;  ///< counted from 0
  std::int64_t count = 1;
  std::optional<std::int64_t> tensors;
};

SplitKeys split_keys(const GgufMetadata& metadata) {
  SplitKeys keys;
  keys.count = metadata.find_integer("split.count", 0, kMaxParts).value_or(1);
  keys.number = metadata.find_integer("split.no", 0, kMaxParts).value_or(0);
  keys.tensors =
      metadata.find_integer("split.tensors.count", 0, static_cast<std::int64_t>(kMaxTensors));
  return keys;
}

[[noreturn]] void refuse_split(const char* code, const fs::path& file, std::string found,
                               std::string expected, const char* hint) {
  const std::string sentence = "a part of a split model: found " + found + ", expected " + expected;
  fail(ErrorKind::corrupt_file,
       {.code = code,
        .file = file.string(),
        .found = std::move(found),
        .expected = std::move(expected),
        .hint = hint},
       "{}", sentence);
}

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(const fs::path& path, MappedFile file) {
    path_ = path;
    GgufStructure first = parse_gguf(file.bytes(), file.path().string());
    GgufMetadata metadata(file.path().string(), std::move(first.metadata));
    const SplitKeys keys = split_keys(metadata);
    if (keys.count <= 1) {
      table_.add_file(file.path().string(), std::move(first.tensors));
      table_.index();  // unique: parse_gguf() checked
      files_.push_back(std::move(file));
      metadata_.emplace(std::move(metadata));
    } else {
      open_parts(keys);
    }
  }

  std::string_view container() const override { return "gguf"; }
  const TensorSource& tensors() const override { return table_; }
  const GgufMetadata* gguf() const override { return &*metadata_; }
  std::vector<fs::path> files() const override {
    std::vector<fs::path> paths;
    for (const MappedFile& file : files_) paths.push_back(file.path());
    return paths;
  }

 private:
  void open_parts(const SplitKeys& given);
  void check_part(const fs::path& path, const GgufMetadata& part, std::int64_t number,
                  const SplitKeys& given) const;

  std::vector<MappedFile> files_;
  std::optional<GgufMetadata> metadata_;
  TensorTable table_;
};

void GgufCheckpoint::open_parts(const SplitKeys& given) {
  constexpr auto kHint =
      "put all parts into one folder under the names that their writer gave them";
  const auto name = parse_part_name(path_.filename().string());
  if (!name || name->count != given.count || name->number != given.number + 1)
    refuse_split(
        "GG_SPLIT_MISSING", path_, "the name " + quote(path_.filename().string()),
        fmt::format("a name that ends in -{:05}-of-{:05}.gguf", given.number + 1, given.count),
        kHint);
  std::vector<std::string> missing;
  for (std::int64_t part = 1; part <= given.count; ++part)
    if (!fs::exists(path_.parent_path() / name->of(part))) missing.push_back(name->of(part));
  if (!missing.empty())
    refuse_split(
        "GG_SPLIT_MISSING", path_,
        fmt::format("{} of {} parts absent: {}", missing.size(), given.count, listed(missing)),
        "all parts", kHint);
  for (std::int64_t part = 1; part <= given.count; ++part) {
    files_.emplace_back(path_.parent_path() / name->of(part));
    const std::string file = files_.back().path().string();
    GgufStructure structure = parse_gguf(files_.back().bytes(), file);
    GgufMetadata metadata(file, std::move(structure.metadata));
    check_part(files_.back().path(), metadata, part - 1, given);
    if (part == 1) metadata_.emplace(std::move(metadata));
    table_.add_file(file, std::move(structure.tensors));
  }
  if (const auto twice = table_.index())
    refuse_split("GG_SPLIT_MIXED", table_.file_of(twice->second),
                 "tensor " + quote(table_.tensors()[twice->first].name) + " again",
                 "each tensor once", "the parts belong to different models");
  const auto tensors = static_cast<std::int64_t>(table_.tensors().size());
  if (given.tensors && *given.tensors != tensors)
    refuse_split(tensors < *given.tensors ? "GG_SPLIT_MISSING" : "GG_SPLIT_MIXED", path_,
                 fmt::format("{} tensors in all parts", tensors),
                 fmt::format("{} (split.tensors.count)", *given.tensors), kHint);
}

void GgufCheckpoint::check_part(const fs::path& path, const GgufMetadata& part, std::int64_t number,
                                const SplitKeys& given) const {
  constexpr auto kHint = "the parts belong to different models; get them again from one place";
  const SplitKeys keys = split_keys(part);
  if (keys.count != given.count || keys.number != number || keys.tensors != given.tensors)
    refuse_split("GG_SPLIT_MIXED", path,
                 fmt::format("part {} of {}, {} tensors in all", keys.number + 1, keys.count,
                             keys.tensors.value_or(-1)),
                 fmt::format("part {} of {}, {} tensors in all", number + 1, given.count,
                             given.tensors.value_or(-1)),
                 kHint);
  if (number == 0) return;
  for (const auto& [key, value] :
       part.all()) {  // later parts may repeat keys of the first, but not contradict it
    if (key.starts_with(kSplitKeys)) continue;
    const auto first = metadata_->all().find(key);
    if (first == metadata_->all().end() || first->second.value != value.value)
      refuse_split("GG_SPLIT_MIXED", path, "another value of key " + quote(key),
                   "the value of the first part", kHint);
  }
}

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const fs::path& path, MappedFile file) {
  return std::make_unique<GgufCheckpoint>(path, std::move(file));
}

}  // namespace tender::io
