#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace tender {
namespace {

/// Closes on leaving; a mapping outlives its descriptor.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

[[noreturn]] void cannot_open(const std::filesystem::path& path, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  fail(missing ? ErrorKind::not_found : ErrorKind::io,
       {.code = missing ? "IO_NOT_FOUND" : "IO_READ",
        .file = path.string(),
        .found = std::strerror(error),
        .hint = missing ? "check the path" : "check the permissions"},
       "cannot be opened: {}", std::strerror(error));
}

Descriptor open_regular(const std::filesystem::path& path, std::size_t& size) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0) cannot_open(path, errno);
  struct stat status {};
  if (fstat(file.fd, &status) != 0) cannot_open(path, errno);
  if (!S_ISREG(status.st_mode))
    fail(ErrorKind::io,
         {.code = "IO_NOT_REGULAR",
          .file = path.string(),
          .found = S_ISDIR(status.st_mode) ? "a directory" : "a pipe, device or socket",
          .expected = "a regular file",
          .hint = "give the path of a file"},
         "is {}, not a regular file",
         S_ISDIR(status.st_mode) ? "a directory" : "a pipe, device or socket");
  size = static_cast<std::size_t>(status.st_size);
  return Descriptor{std::exchange(file.fd, -1)};
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file = open_regular(path, size_);
  if (size_ == 0) return;
  void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) cannot_open(path, errno);
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::string_view MappedFile::text() const { return {reinterpret_cast<const char*>(data_), size_}; }

void MappedFile::release(std::span<const std::byte> part) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(part.data()) + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_file(const std::filesystem::path& path, std::size_t limit) {
  std::size_t size = 0;
  const Descriptor file = open_regular(path, size);
  const auto refuse_above = [&](std::size_t bytes) {
    if (bytes > limit)
      fail(ErrorKind::invalid_input,
           {.code = "IO_TOO_LARGE",
            .file = path.string(),
            .found = fmt::format("{} bytes", bytes),
            .expected = fmt::format("at most {} bytes", limit)},
           "has {} bytes: expected at most {}", bytes, limit);
  };
  refuse_above(size);
  // One byte more than there should be shows the end. Files of procfs say 0 and come in steps.
  constexpr std::size_t kStep = std::size_t{64} << 10U;
  std::string text(size == 0 ? kStep : size + 1, '\0');
  std::size_t have = 0;
  while (have <= limit) {
    if (have == text.size()) text.resize(have + kStep);
    const ssize_t got = read(file.fd, text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) cannot_open(path, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  refuse_above(have);  // one that says less than it has
  text.resize(have);
  return text;
}

}  // namespace tender
