#include "compress/memory_checkpoint.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <span>

#include "base/contracts.h"

namespace tender::compress {
namespace {

/// Shared memory without a file. Readers of a checkpoint give its pages back (MappedFile::release),
/// which would turn private memory into zeros; shared memory keeps its contents, as a mapped file
/// does.
class SharedBytes {
 public:
  explicit SharedBytes(std::size_t size) : size_(size) {
    if (size_ == 0) return;
    void* data = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(data);
  }
  ~SharedBytes() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

std::size_t size_of(const io::TensorToWrite& tensor) {
  const DTypeTraits& type = traits(tensor.type);
  return element_count(tensor.shape).value() / type.block * type.bits / 8;
}

/// Where each tensor begins, and where the last one ends.
std::vector<std::size_t> places_of(const std::vector<io::TensorToWrite>& tensors) {
  std::vector<std::size_t> places = {0};
  for (const io::TensorToWrite& tensor : tensors)
    places.push_back((places.back() + size_of(tensor) + 63) / 64 * 64);
  return places;
}

}  // namespace

class MemoryCheckpoint::Source : public TensorSource {
 public:
  explicit Source(const std::vector<io::TensorToWrite>& tensors)
      : places_(places_of(tensors)), bytes_(places_.back()) {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const io::TensorToWrite& tensor = tensors[i];
      const auto whole = bytes_.bytes().subspan(places_[i], size_of(tensor));
      std::span<std::byte> left = whole;
      tensor.write([&](std::span<const std::byte> piece) {
        require(piece.size() <= left.size(), "a tensor has the bytes of its shape");
        std::ranges::copy(piece, left.begin());
        left = left.subspan(piece.size());
      });
      require(left.empty(), "a tensor has the bytes of its shape");
      infos_.push_back({tensor.name, tensor.type, tensor.shape, whole});
    }
  }
  std::span<const TensorInfo> tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto found = std::ranges::find(infos_, name, &TensorInfo::name);
    return found == infos_.end() ? nullptr : &*found;
  }
  std::string file_of(const TensorInfo&) const override { return "memory"; }

 private:
  std::vector<std::size_t> places_;
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
