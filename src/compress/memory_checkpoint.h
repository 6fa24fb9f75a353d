#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors_writer.h"

namespace tender::compress {

/// A checkpoint that never was on disk: config.json and tensors, as a Hugging Face directory has
/// them.
class MemoryCheckpoint : public io::Checkpoint {
 public:
  /// @param config   config.json as text
  /// @param tensors  as for write_safetensors(); their bytes are made here
  MemoryCheckpoint(const std::string& config, const std::vector<io::TensorToWrite>& tensors);
  ~MemoryCheckpoint() override;

  std::string_view container() const override { return "memory"; }
  const TensorSource& tensors() const override;
  const Json* config() const override { return config_.get(); }
  std::vector<std::filesystem::path> files() const override { return {}; }

 private:
  class Source;
  std::unique_ptr<Json> config_;
  std::unique_ptr<Source> source_;
};

}  // namespace tender::compress
