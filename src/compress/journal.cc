#include "compress/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "io/safetensors/safetensors_structure.h"

namespace tender::compress {
namespace {

namespace fs = std::filesystem;
constexpr const char* kHead = "journal.json";
constexpr const char* kNote = "tender_note";
constexpr int kVersion = 1;

std::string layer_name(std::size_t layer) { return fmt::format("layer-{:05}", layer); }

[[noreturn]] void refuse_damaged(const fs::path& place, const std::string& found) {
  fail(ErrorKind::corrupt_file,
       {.code = "RUN_DAMAGED",
        .file = place.string(),
        .found = found,
        .expected = "what an interrupted run has left",
        .hint = "start over with --restart"},
       "the unfinished run cannot be continued: {}", found);
}

/// A directory that holds nothing but a journal may be removed.
bool is_journal(const fs::path& place) {
  for (const auto& entry : fs::directory_iterator(place)) {
    const std::string name = entry.path().filename().string();
    if (name != kHead && !name.starts_with("layer-") && !name.starts_with(".layer-") &&
        !name.starts_with("." + std::string(kHead)))
      return false;
  }
  return true;
}

fs::path place_of(const fs::path& output) {
  const fs::path whole = output.has_filename() ? output : output.parent_path();
  return whole.string() + ".unfinished";
}

}  // namespace

struct Journal::Layer {
  explicit Layer(const fs::path& path)
      : file(path), structure(io::parse_safetensors(file.bytes(), path.string())) {}
  MappedFile file;
  io::SafetensorsStructure structure;
};

Journal::Lock::Lock(const fs::path& directory) {
  const auto cannot = [&](int number) {
    const std::string reason = std::generic_category().message(number);
    fail(ErrorKind::io,
         {.code = "IO_WRITE",
          .file = directory.string(),
          .found = reason,
          .hint = "choose an output in a folder that can be written and locked"},
         "the directory for unfinished work cannot be made or locked: {}", reason);
  };
  int failure = 0;
  while (failure == 0) {
    std::error_code error;
    fs::create_directories(directory, error);
    descriptor_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0) cannot(errno);
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) failure = errno;
    // Whoever held it before may have removed the directory in between: then begin again.
    struct stat held {};
    struct stat there {};
    if (failure == 0 && fstat(descriptor_, &held) == 0 && stat(directory.c_str(), &there) == 0 &&
        held.st_ino == there.st_ino && held.st_dev == there.st_dev)
      return;
    close(descriptor_);
  }
  if (failure != EWOULDBLOCK) cannot(failure);
  fail(ErrorKind::io,
       {.code = "RUN_BUSY",
        .file = directory.string(),
        .hint = "wait for it, or choose another output"},
       "another process is writing the same output");
}

Journal::Lock::~Lock() { close(descriptor_); }

Journal::Journal(const fs::path& output, const Fingerprint& fingerprint, bool restart)
    : place_(place_of(output)), lock_(place_) {
  if (!is_journal(place_)) refuse_damaged(place_, "it holds files of another kind");
  if (restart)
    for (const auto& entry : fs::directory_iterator(place_)) fs::remove_all(entry.path());
  if (fs::exists(place_ / kHead)) {
    check_owner(fingerprint);
    for (std::size_t layer = 0; fs::exists(place_ / layer_name(layer)); ++layer) open_layer(layer);
    return;
  }
  for (const auto& entry : fs::directory_iterator(place_)) fs::remove_all(entry.path());
  OutputFile head(place_ / kHead, Overwrite::replace);
  head.write(to_text(Json{{"format_version", kVersion}, {"fingerprint", fingerprint}}, 2) + "\n");
  head.commit();
}

Journal::~Journal() {
  std::error_code error;
  if (layers_.empty()) fs::remove_all(place_, error);
}

void Journal::check_owner(const Fingerprint& fingerprint) const {
  const Json head = parse_json(read_file(place_ / kHead), (place_ / kHead).string(), "RUN_DAMAGED");
  if (!head.is_object() || head.value("format_version", Json()) != kVersion ||
      !head.value("fingerprint", Json()).is_object())
    refuse_damaged(place_, "journal.json of another version");
  Fingerprint found;
  for (const auto& item : head.at("fingerprint").items())
    if (item.value().is_string()) found[item.key()] = item.value().get<std::string>();
  Difference differs = difference(found, fingerprint);
  for (const auto& [key, value] : found)
    if (!fingerprint.contains(key)) {
      differs.found[key] = value;
      differs.expected[key] = "nothing";
    }
  if (differs.expected.empty()) return;
  fail(ErrorKind::invalid_input,
       {.code = "RUN_OTHER",
        .file = place_.string(),
        .item = differs.expected.begin()->first,
        .found = described(differs.found),
        .expected = described(differs.expected),
        .hint = "give the command that was interrupted, or start over with --restart"},
       "an unfinished run of another model, text or recipe is there: it has {}; asked for is {}",
       described(differs.found), described(differs.expected));
}

void Journal::open_layer(std::size_t layer) {
  auto opened = std::make_unique<Layer>(place_ / layer_name(layer) / "model.safetensors");
  if (!opened->structure.metadata.contains(kNote))
    refuse_damaged(place_, layer_name(layer) + " has no note");
  index_.add(opened->structure.tensors);
  layers_.emplace(layer, std::move(opened));
}

void Journal::put(std::size_t layer, const StoredParts& parts, const std::string& note) {
  require(!has(layer), "a layer is kept once");
  OutputDirectory side(place_ / layer_name(layer), Overwrite::replace);
  std::vector<io::TensorToWrite> tensors;
  parts.list(tensors);
  io::write_safetensors(side.path(), std::move(tensors), {{kNote, note}}, ~std::uint64_t{0});
  side.commit();
  open_layer(layer);
}

const std::string& Journal::note(std::size_t layer) const {
  return layers_.at(layer)->structure.metadata.at(kNote);
}

std::vector<io::TensorToWrite> Journal::list(const std::string& prefix) const {
  std::vector<io::TensorToWrite> tensors;
  for (const auto& [number, layer] : layers_)
    for (const TensorInfo& tensor : layer->structure.tensors)
      if (tensor.name.starts_with(prefix))
        tensors.push_back({tensor.name.substr(prefix.size()), tensor.type, tensor.shape,
                           [&tensor](const auto& put) {
                             put(tensor.bytes);
                             MappedFile::release(tensor.bytes);
                           }});
  return tensors;
}

std::uint64_t Journal::bytes(const std::string& prefix) const {
  std::uint64_t sum = 0;
  for (const auto& [number, layer] : layers_)
    for (const TensorInfo& tensor : layer->structure.tensors)
      if (tensor.name.starts_with(prefix)) sum += tensor.bytes.size();
  return sum;
}

void Journal::refuse(std::size_t layer, const std::string& why) const {
  refuse_damaged(place_, layer_name(layer) + ": " + why);
}

void Journal::discard() {
  layers_.clear();
  std::error_code error;
  fs::remove_all(place_, error);
}

}  // namespace tender::compress
