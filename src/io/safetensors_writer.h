#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_source.h"

namespace tender::io {

/// A tensor to be stored; `write` is asked for the bytes when their turn comes, so that a model
/// larger than memory can be converted. It calls `put` as often as it likes, in order.
struct TensorToWrite {
  std::string name;
  DType type = DType::f32;
  Shape shape;
  std::function<void(const std::function<void(std::span<const std::byte>)>& put)> write;
};

struct WrittenTensors {
  std::vector<std::string> files;           ///< names, in order of shards
  std::uint64_t bytes = 0;                  ///< of all files
  std::map<std::string, std::string> xxh3;  ///< tensor name → hash of its bytes
};

constexpr std::uint64_t kShardBytes = std::uint64_t{5} << 30U;

/// Writes model.safetensors, or shards of at most `shard_bytes` with model.safetensors.index.json.
/// Tensors are ordered by falling alignment, then by name; the header is padded to 8 bytes and its
/// __metadata__ holds `metadata` and format = "pt". Same tensors, same bytes.
/// @param directory  exists; usually OutputDirectory::path()
WrittenTensors write_safetensors(const std::filesystem::path& directory,
                                 std::vector<TensorToWrite> tensors,
                                 const std::map<std::string, std::string>& metadata = {},
                                 std::uint64_t shard_bytes = kShardBytes);

}  // namespace tender::io
