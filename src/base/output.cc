#include "base/output.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"

namespace tender {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSideMark = ".tender-partial-";

[[noreturn]] void cannot_write(const fs::path& place, int error) {
  const char* code = "IO_WRITE";
  const char* hint = "check the path and the permissions";
  if (error == ENOSPC || error == EDQUOT) {
    code = "IO_NOSPACE";
    hint = "free some space; nothing was left behind";
  } else if (error == EROFS || error == EACCES || error == EPERM) {
    code = "IO_READONLY";
  }
  fail(ErrorKind::io,
       {.code = code, .file = place.string(), .found = std::strerror(error), .hint = hint},
       "cannot be written: {}", std::strerror(error));
}

void refuse_existing(const fs::path& place, Overwrite overwrite) {
  std::error_code ignored;
  if (overwrite == Overwrite::refuse && fs::exists(fs::symlink_status(place, ignored)))
    fail(ErrorKind::io,
         {.code = "IO_EXISTS",
          .file = place.string(),
          .found = "an existing file or directory",
          .expected = "a new path",
          .hint = "choose another path, or add --force to replace it"},
         "exists already");
}

/// --force replaces what this program could have written, never a folder of other things: a model's
/// directory holds regular files with these endings and no folders.
void refuse_foreign(const fs::path& place) {
  constexpr std::array<std::string_view, 6> kEndings = {".json", ".safetensors", ".md",
                                                        ".txt",  ".model",       ".jinja"};
  std::error_code error;
  std::string foreign;
  if (!fs::is_directory(fs::symlink_status(place, error))) foreign = "no directory";
  for (fs::directory_iterator at(place, error), end; !error && at != end; at.increment(error)) {
    const bool known =
        std::ranges::find(kEndings, at->path().extension().string()) != kEndings.end();
    if (!known || !at->is_regular_file(error)) foreign = at->path().filename().string();
  }
  if (!foreign.empty())
    fail(ErrorKind::io,
         {.code = "IO_EXISTS",
          .file = place.string(),
          .found = foreign,
          .expected = "a directory that holds a model and nothing else",
          .hint = "choose another path, or remove it yourself"},
         "is not replaced: it holds {}, which is no part of a model", quote(foreign));
}

fs::path parent_of(const fs::path& place) {
  return place.has_parent_path() ? place.parent_path() : fs::path(".");
}

fs::path without_trailing_slash(const fs::path& place) {
  return place.has_filename() ? place : place.parent_path();
}

fs::path side_of(const fs::path& place) {
  return parent_of(place) /
         ("." + place.filename().string() + std::string(kSideMark) + std::to_string(getpid()));
}

/// Removes what processes that are gone left beside `place`.
void remove_stale(const fs::path& place) {
  const std::string prefix = "." + place.filename().string() + std::string(kSideMark);
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator at(parent_of(place), error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    int pid = 0;
    const char* last = name.data() + name.size();
    const auto [stop, failure] = std::from_chars(name.data() + prefix.size(), last, pid);
    if (failure == std::errc() && stop == last && pid != getpid() && kill(pid, 0) != 0 &&
        errno == ESRCH)
      stale.push_back(at->path());
  }
  for (const fs::path& path : stale) fs::remove_all(path, error);
}

/// renameat2, or its parts where the file system (NFS, FUSE) does not know the flags. @return
/// success; errno
bool rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  if (flags == RENAME_NOREPLACE && access(to.c_str(), F_OK) == 0) {
    errno = EEXIST;
    return false;
  }
  if (flags != RENAME_EXCHANGE) return rename(from.c_str(), to.c_str()) == 0;
  const fs::path aside = from.string() + ".old";
  return rename(to.c_str(), aside.c_str()) == 0 && rename(from.c_str(), to.c_str()) == 0 &&
         rename(aside.c_str(), from.c_str()) == 0;
}

void sync_directory(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

void check_writable(const fs::path& given, Overwrite overwrite) {
  const fs::path place = without_trailing_slash(given);
  if (place.filename().empty() || place.filename() == "." || place.filename() == "..")
    fail(ErrorKind::invalid_argument,
         {.code = "IO_PATH",
          .item = given.string(),
          .found = given.string(),
          .expected = "a path that ends in a name",
          .hint = "give the name of the file or directory to write"},
         "{} does not name an output", quote(given.string()));
  refuse_existing(place, overwrite);
  std::error_code error;
  if (!fs::is_directory(parent_of(place), error))
    fail(ErrorKind::io,
         {.code = "IO_WRITE",
          .file = place.string(),
          .found = "no folder " + parent_of(place).string(),
          .expected = "an existing folder",
          .hint = "make the folder, or choose another path"},
         "cannot be written: the folder {} does not exist", quote(parent_of(place).string()));
  if (access(parent_of(place).c_str(), W_OK) != 0) cannot_write(place, errno);
}

OutputFile::OutputFile(const fs::path& place, Overwrite overwrite)
    : place_(without_trailing_slash(place)), side_(side_of(place_)), overwrite_(overwrite) {
  check_writable(place_, overwrite);
  remove_stale(place_);
  fd_ = open(side_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) cannot_write(place_, errno);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : place_(std::move(other.place_)),
      side_(std::move(other.side_)),
      overwrite_(other.overwrite_),
      fd_(std::exchange(other.fd_, -1)),
      written_(other.written_) {}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(side_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) cannot_write(place_, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    written_ += static_cast<std::uint64_t>(put);
  }
}

void OutputFile::commit() {
  if (fsync(fd_) != 0) cannot_write(place_, errno);
  const unsigned flags = overwrite_ == Overwrite::refuse ? RENAME_NOREPLACE : 0U;
  if (!rename_with(side_, place_, flags)) {
    if (errno == EEXIST) refuse_existing(place_, overwrite_);
    cannot_write(place_, errno);
  }
  close(std::exchange(fd_, -1));
  sync_directory(parent_of(place_));
}

OutputDirectory::OutputDirectory(const fs::path& place, Overwrite overwrite)
    : place_(without_trailing_slash(place)), side_(side_of(place_)), overwrite_(overwrite) {
  check_writable(place_, overwrite);
  std::error_code error;
  if (fs::exists(fs::symlink_status(place_, error))) refuse_foreign(place_);
  remove_stale(place_);
  fs::remove_all(side_, error);
  if (!fs::create_directory(side_, error)) cannot_write(place_, error ? error.value() : EEXIST);
}

OutputDirectory::~OutputDirectory() {
  std::error_code error;
  if (!committed_) fs::remove_all(side_, error);
}

void OutputDirectory::commit() {
  sync_directory(side_);
  std::error_code error;
  const bool exists = fs::exists(fs::symlink_status(place_, error));
  if (exists) {
    refuse_existing(place_, overwrite_);
    refuse_foreign(place_);
  }
  if (!rename_with(side_, place_, exists ? RENAME_EXCHANGE : RENAME_NOREPLACE))
    cannot_write(place_, errno);
  committed_ = true;
  if (exists) fs::remove_all(side_, error);  // the former one, after the exchange
  sync_directory(parent_of(place_));
}

}  // namespace tender
