#include "io/hf_directory/shard_index.h"

#include <map>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "io/hf_directory/hf_directory.h"
#include "io/json_cursor.h"
#include "io/name_index.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

class IndexParser {
 public:
  IndexParser(std::string_view text, const std::string& file)
      : text_(text), file_(file), cursor_(text, file, "HF_INDEX_JSON") {}

  ShardIndex parse() {
    if (const auto bad = first_invalid_utf8(text_))
      refuse("HF_INDEX_JSON", *bad, "bytes that are no UTF-8", "UTF-8");
    if (cursor_.peek() != '{') cursor_.syntax_error("an object");
    bool seen = false;
    cursor_.object([&](std::string_view key) {
      if (key != "weight_map") return cursor_.skip();
      if (std::exchange(seen, true))
        refuse("HF_INDEX_JSON", cursor_.offset(), "'weight_map' twice", "one");
      weight_map();
    });
    if (!cursor_.at_end()) cursor_.syntax_error("the end of the file");
    if (!seen) refuse("HF_INDEX_JSON", 0, "no 'weight_map'", "a map of tensors to files");
    return finish();
  }

 private:
  [[noreturn]] void refuse(const char* code, std::uint64_t offset, const std::string& found,
                           const std::string& expected) const {
    fail(ErrorKind::corrupt_file,
         {.code = code,
          .file = file_,
          .offset = offset,
          .found = found,
          .expected = expected,
          .hint = "the index is damaged or hostile; get the model again"},
         "found {}, expected {}", found, expected);
  }

  void weight_map() {
    if (cursor_.peek() != '{') cursor_.syntax_error("a map of tensors to files");
    cursor_.object([&](std::string_view tensor) {
      if (index_.places.size() == kMaxTensors)
        refuse("HF_INDEX_JSON", cursor_.offset(), "more than 10^6 tensors", "at most 10^6");
      std::string name(tensor);
      if (cursor_.peek() != '"') cursor_.syntax_error("a file name");
      const std::string_view shard = cursor_.string();
      if (!is_plain_file_name(shard))
        refuse("HF_SHARD_PATH", cursor_.offset(), "the shard " + quote(shard), "a plain file name");
      const auto number = static_cast<std::uint32_t>(shards_.size());
      index_.places.push_back(
          {std::move(name), shards_.try_emplace(std::string(shard), number).first->second});
    });
  }

  /// Numbers the shards in order of their names and looks for tensors that stand there twice.
  ShardIndex finish() {
    std::vector<std::uint32_t> renumber(shards_.size());
    for (const auto& [name, number] : shards_) {
      renumber[number] = static_cast<std::uint32_t>(index_.shards.size());
      index_.shards.push_back(name);
    }
    NameIndex names(index_.places.size());
    const auto name_of = [&](std::uint32_t i) { return std::string_view(index_.places[i].tensor); };
    for (std::uint32_t i = 0; i < index_.places.size(); ++i) {
      index_.places[i].shard = renumber[index_.places[i].shard];
      if (names.insert(name_of(i), i, name_of))
        refuse("HF_DUPLICATE_TENSOR", 0, "tensor " + quote(name_of(i)) + " twice",
               "each tensor once");
    }
    return std::move(index_);
  }

  std::string_view text_;
  const std::string& file_;
  JsonCursor cursor_;
  std::map<std::string, std::uint32_t, std::less<>> shards_;
  ShardIndex index_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& file) {
  return IndexParser(text, file).parse();
}

}  // namespace tender::io
