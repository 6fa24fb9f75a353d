#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tender::io {

/// model.safetensors.index.json: which tensor lies in which shard.
struct ShardIndex {
  struct Place {
    std::string tensor;
    std::uint32_t shard;  ///< number in `shards`
  };
  std::vector<std::string> shards;  ///< plain file names, sorted
  std::vector<Place> places;
};

/// @param text  the whole file
/// @throws Error corrupt_file (HF_INDEX_JSON, JSON_DEPTH, HF_SHARD_PATH, HF_DUPLICATE_TENSOR)
ShardIndex parse_shard_index(std::string_view text, const std::string& file);

}  // namespace tender::io
