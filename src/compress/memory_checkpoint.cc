#include "compress/memory_checkpoint.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>

namespace tender::compress {
namespace {

/// Shared memory without a file. Readers of a checkpoint give its pages back (MappedFile::release),
/// which would turn private memory into zeros; shared memory keeps its contents, as a mapped file
/// does.
class SharedBytes {
 public:
  explicit SharedBytes(const std::vector<std::byte>& bytes) : size_(bytes.size()) {
    if (size_ == 0) return;
    void* data = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(data);
    std::memcpy(data_, bytes.data(), size_);
  }
  ~SharedBytes() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

/// All tensors one after another; where each begins is put into `starts`.
std::vector<std::byte> written(const std::vector<io::TensorToWrite>& tensors,
                               std::vector<std::size_t>& starts) {
  std::vector<std::byte> all;
  for (const io::TensorToWrite& tensor : tensors) {
    all.resize((all.size() + 63) / 64 * 64);
    starts.push_back(all.size());
    tensor.write([&](std::span<const std::byte> piece) {
      all.insert(all.end(), piece.begin(), piece.end());
    });
  }
  return all;
}

}  // namespace

class MemoryCheckpoint::Source : public TensorSource {
 public:
  explicit Source(const std::vector<io::TensorToWrite>& tensors)
      : bytes_(written(tensors, starts_)) {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const io::TensorToWrite& tensor = tensors[i];
      const DTypeTraits& type = traits(tensor.type);
      const std::size_t size = element_count(tensor.shape).value() / type.block * type.bits / 8;
      infos_.push_back(
          {tensor.name, tensor.type, tensor.shape, bytes_.bytes().subspan(starts_[i], size)});
    }
  }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto found = std::ranges::find(infos_, name, &TensorInfo::name);
    return found == infos_.end() ? nullptr : &*found;
  }
  std::string file_of(const TensorInfo&) const override { return "memory"; }

 private:
  std::vector<std::size_t> starts_;
  SharedBytes bytes_;
  std::vector<TensorInfo> infos_;
};

MemoryCheckpoint::MemoryCheckpoint(const std::string& config,
                                   const std::vector<io::TensorToWrite>& tensors)
    : config_(std::make_unique<Json>(Json::parse(config))),
      source_(std::make_unique<Source>(tensors)) {
  path_ = "memory";
}

MemoryCheckpoint::~MemoryCheckpoint() = default;

const TensorSource& MemoryCheckpoint::tensors() const { return *source_; }

}  // namespace tender::compress
