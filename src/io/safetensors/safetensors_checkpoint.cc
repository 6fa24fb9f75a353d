#include "io/safetensors/safetensors_checkpoint.h"

#include <utility>

#include "io/safetensors/safetensors_structure.h"
#include "io/tensor_table.h"

namespace tender::io {
namespace {

class SafetensorsCheckpoint final : public Checkpoint {
 public:
  SafetensorsCheckpoint(const std::filesystem::path& path, MappedFile file)
      : file_(std::move(file)) {
    path_ = path;
    SafetensorsStructure structure = parse_safetensors(file_.bytes(), path.string());
    metadata_ = std::move(structure.metadata);
    table_.add_file(path.string(), std::move(structure.tensors));
    table_.index();  // unique: parse_safetensors() checked
  }

  std::string_view container() const override { return "safetensors"; }
  const TensorSource& tensors() const override { return table_; }
  const std::map<std::string, std::string>* header_metadata() const override { return &metadata_; }
  std::vector<std::filesystem::path> files() const override { return {path_}; }

 private:
  MappedFile file_;
  std::map<std::string, std::string> metadata_;
  TensorTable table_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors(const std::filesystem::path& path, MappedFile file) {
  return std::make_unique<SafetensorsCheckpoint>(path, std::move(file));
}

}  // namespace tender::io
