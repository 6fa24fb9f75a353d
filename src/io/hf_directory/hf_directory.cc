#include "io/hf_directory/hf_directory.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/hf_directory/shard_index.h"
#include "io/listed.h"
#include "io/safetensors/safetensors_structure.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kReport = "tender_report.json";
constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20U;
constexpr std::size_t kMaxIndexBytes = std::size_t{256} << 20U;  // 10^6 tensors with long names

/// Files of a model beside its weights, in the order in which files() names them.
constexpr std::array kSmallFiles = {
    std::string_view("config.json"),
    std::string_view("generation_config.json"),
    std::string_view("tokenizer.json"),
    std::string_view("tokenizer_config.json"),
    std::string_view("special_tokens_map.json"),
    std::string_view("added_tokens.json"),
    std::string_view("vocab.json"),
    std::string_view("merges.txt"),
    std::string_view("tokenizer.model"),
    std::string_view("vocab.txt"),
    std::string_view("chat_template.jinja"),
    kReport,
};

bool is_pickle(const std::string& name) {
  constexpr std::array<std::string_view, 5> kEndings = {".bin", ".pt", ".pth", ".pkl", ".ckpt"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view end) { return name.ends_with(end); });
}

/// Names of the entries of a directory, sorted.
std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  if (error)
    fail(ErrorKind::io, {.code = "IO_READ", .file = directory.string(), .found = error.message()},
         "cannot be listed: {}", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

class HfDirectory final : public Checkpoint {
 public:
  HfDirectory(const fs::path& path, Need need) : need_(need), names_(names_in(path)) {
    path_ = path;
    read_config();
    if (has(kWeights)) {
      if (has(kIndex))
        notes_.push_back("model.safetensors is used; the index of shards beside it is ignored");
      add_shard(std::string(kWeights));
      table_.index();  // unique within one file
    } else if (has(kIndex)) {
      read_shards();
    } else if (need_ == Need::model) {
      refuse_without_weights();
    }
  }

  std::string_view container() const override { return "hf_directory"; }
  const TensorSource& tensors() const override { return table_; }
  const Json* config() const override { return config_ ? &*config_ : nullptr; }

  std::optional<std::string> read(std::string_view file_name) const override {
    if (!is_plain_file_name(file_name) || !has(file_name)) return std::nullopt;
    return read_file(path_ / file_name);
  }

  std::vector<fs::path> files() const override {
    std::vector<fs::path> paths;
    for (const MappedFile& shard : shards_) paths.push_back(shard.path());
    if (shards_.size() > 1) paths.push_back(path_ / kIndex);
    for (const std::string_view name : kSmallFiles)
      if (has(name)) paths.push_back(path_ / name);
    return paths;
  }

 private:
  bool has(std::string_view name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
  }
  std::string place(std::string_view name) const { return (path_ / name).string(); }

  void read_config();
  void refuse_without_config() const;
  [[noreturn]] void refuse_without_weights() const;
  std::vector<TensorInfo> parse_shard(const MappedFile& file) const;
  void add_shard(const std::string& name);
  void read_shards();
  void check_index(const ShardIndex& index) const;

  Need need_;
  std::vector<std::string> names_;
  std::optional<Json> config_;
  std::vector<MappedFile> shards_;
  TensorTable table_;
};

void HfDirectory::refuse_without_config() const {
  const auto gguf = std::find_if(names_.begin(), names_.end(),
                                 [](const auto& name) { return name.ends_with(".gguf"); });
  fail(ErrorKind::not_found,
       {.code = "HF_NO_CONFIG",
        .file = path_.string(),
        .found = listed(names_),
        .expected = "config.json",
        .hint = gguf != names_.end()
                    ? "give the path of " + *gguf + " itself"
                    : std::string("give the directory that holds config.json and the weights")},
       "has no config.json; found {}", listed(names_));
}

void HfDirectory::read_config() {
  if (!has("config.json")) {
    if (need_ == Need::model) refuse_without_config();
    return;
  }
  const std::string file = place("config.json");
  const std::string text = read_file(file, kMaxConfigBytes);
  if (text.starts_with("\xef\xbb\xbf"))
    fail(ErrorKind::corrupt_file,
         {.code = "HF_CONFIG_BOM",
          .file = file,
          .offset = 0,
          .found = "a byte order mark",
          .expected = "'{'",
          .hint = "save the file as UTF-8 without a byte order mark"},
         "begins with a byte order mark: expected plain UTF-8");
  config_ = parse_json(text, file, "HF_CONFIG_JSON");
  if (!config_->is_object())
    fail(ErrorKind::corrupt_file,
         {.code = "HF_CONFIG_JSON",
          .file = file,
          .found = config_->type_name(),
          .expected = "a JSON object",
          .hint = "the file is damaged; get it again"},
         "holds a JSON {}: expected an object", config_->type_name());
  if (config_->contains("auto_map"))
    notes_.push_back("auto_map (code that comes with the model) is ignored");
}

void HfDirectory::refuse_without_weights() const {
  const bool shards = std::any_of(names_.begin(), names_.end(), [](const std::string& name) {
    return name.starts_with("model-") && name.ends_with(".safetensors");
  });
  if (shards)
    fail(ErrorKind::corrupt_file,
         {.code = "HF_SHARD_MISSING",
          .file = path_.string(),
          .found = listed(names_),
          .expected = std::string(kIndex),
          .hint = "the directory is incomplete; get or write it again"},
         "has shards, but no {} that says what they hold", kIndex);
  if (std::any_of(names_.begin(), names_.end(), is_pickle))
    fail(ErrorKind::unsupported,
         {.code = "HF_PICKLE",
          .file = path_.string(),
          .found = listed(names_),
          .expected = std::string(kWeights),
          .hint =
              "pickle files can run code and are never opened; in Python, load the model and call "
              "save_pretrained(folder, safe_serialization=True), then give that folder"},
         "holds its weights only as pickle files");
  fail(ErrorKind::not_found,
       {.code = "HF_NO_WEIGHTS",
        .file = path_.string(),
        .found = listed(names_),
        .expected = fmt::format("{} or {}", kWeights, kIndex),
        .hint = "the directory is incomplete; get or write it again"},
       "has no weights: neither {} nor {}", kWeights, kIndex);
}

/// What Tender wrote and was cut short since is told apart from files of other programs.
std::vector<TensorInfo> HfDirectory::parse_shard(const MappedFile& file) const {
  try {
    return parse_safetensors(file.bytes(), file.path().string()).tensors;
  } catch (const Error& error) {
    const std::string& code = error.code();
    if (!has(kReport) ||
        (code != "ST_TOO_SHORT" && code != "ST_HEADER_PAST_END" && code != "ST_PAST_END"))
      throw;
    ErrorDetails details = error.details();
    details.code = "CK_TRUNCATED";
    details.hint = "the checkpoint is incomplete; quantize or convert again";
    throw Error(error.kind(), std::move(details), error.sentence());
  }
}

void HfDirectory::add_shard(const std::string& name) {
  const fs::path path = path_ / name;
  std::error_code ignored;
  const bool link = fs::is_symlink(path, ignored);
  if (link && !fs::is_regular_file(path, ignored))
    fail(ErrorKind::io,
         {.code = "IO_LINK",
          .file = path.string(),
          .found = "a link to nothing that is a regular file",
          .expected = "a regular file",
          .hint = "the cache that the link points into is incomplete; get the model again"},
         "is a link, but not to a regular file");
  shards_.emplace_back(path);
  table_.add_file(path.string(), parse_shard(shards_.back()));
}

void HfDirectory::read_shards() {
  const std::string file = place(kIndex);
  const ShardIndex index = parse_shard_index(read_file(file, kMaxIndexBytes), file);
  std::vector<std::string> missing;
  for (const std::string& shard : index.shards)
    if (!has(shard)) missing.push_back(shard);
  if (!missing.empty())
    fail(ErrorKind::not_found,
         {.code = "HF_SHARD_MISSING",
          .file = path_.string(),
          .item = missing.front(),
          .found = fmt::format("{} of {} shards absent", missing.size(), index.shards.size()),
          .expected = "all shards of " + std::string(kIndex),
          .hint = "the directory is incomplete; get or write it again"},
         "lacks {} of {} shards: {}", missing.size(), index.shards.size(), listed(missing));
  for (const std::string& shard : index.shards) add_shard(shard);
  if (const auto twice = table_.index())
    fail(ErrorKind::corrupt_file,
         {.code = "HF_DUPLICATE_TENSOR",
          .file = table_.file_of(twice->second),
          .item = table_.tensors()[twice->first].name,
          .found = "it in another shard, too",
          .expected = "each tensor once",
          .hint = "the shards belong to different models; get them again from one place"},
         "tensor {} lies in {}, too", quote(table_.tensors()[twice->first].name),
         table_.file_of(twice->first));
  check_index(index);
}

/// Every tensor lies where the index says, and none lies beside it.
void HfDirectory::check_index(const ShardIndex& index) const {
  const auto refuse = [&](const std::string& tensor, const std::string& found,
                          const std::string& expected) {
    fail(ErrorKind::corrupt_file,
         {.code = "HF_SHARD_MISMATCH",
          .file = place(kIndex),
          .item = tensor,
          .found = found,
          .expected = expected,
          .hint = "index and shards belong to different models; get them again from one place"},
         "tensor {}: found {}, the index says {}", quote(tensor), found, expected);
  };
  for (const ShardIndex::Place& entry : index.places) {
    const TensorInfo* tensor = table_.find(entry.tensor);
    const std::string& shard = index.shards[entry.shard];
    if (tensor == nullptr) refuse(entry.tensor, "it in no shard", shard);
    const std::string file = fs::path(table_.file_of(*tensor)).filename().string();
    if (file != shard) refuse(entry.tensor, "it in " + file, shard);
  }
  if (index.places.size() == table_.tensors().size()) return;
  NameIndex known(index.places.size());
  const auto name_of = [&](std::uint32_t i) { return std::string_view(index.places[i].tensor); };
  for (std::uint32_t i = 0; i < index.places.size(); ++i) known.insert(name_of(i), i, name_of);
  for (const TensorInfo& tensor : table_.tensors())
    if (!known.find(tensor.name, name_of))
      refuse(tensor.name, "it in " + table_.file_of(tensor), "nothing of it");
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name == "." || name.find("..") != std::string_view::npos) return false;
  return std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '/' || c == '\\' || c == '\0'; });
}

std::unique_ptr<Checkpoint> open_hf_directory(const fs::path& path, Need need) {
  return std::make_unique<HfDirectory>(path, need);
}

}  // namespace tender::io
