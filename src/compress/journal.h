#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/calibration.h"
#include "compress/stored_parts.h"
#include "io/safetensors_writer.h"
#include "model/part_reader.h"

namespace tender::compress {

/// What a long run has made so far, in a directory beside its output, "<output>.unfinished": a run
/// that was killed goes on from its last whole layer and ends with the same bytes.
///
///     journal.json                        format version and fingerprint of the run
///     layer-00007/model.safetensors       parts of the layer, and what its maker noted as metadata
///
/// One process at a time writes it. A run that ends without a single whole layer leaves nothing.
class Journal {
 public:
  /// Opens or begins the journal of an output.
  /// @param restart  forget what an earlier run has left
  /// @throws Error invalid_input (RUN_OTHER: of another model, text or recipe, showing the
  ///         difference), io (RUN_BUSY: another process is at it; IO_…), corrupt_file (RUN_DAMAGED)
  Journal(const std::filesystem::path& output, const Fingerprint& fingerprint, bool restart);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  bool has(std::size_t layer) const { return layers_.contains(layer); }
  std::size_t layers() const { return layers_.size(); }
  /// Keeps a layer: after this call, whatever happens. @param note  text of whoever keeps it
  void put(std::size_t layer, const StoredParts& parts, const std::string& note);
  const std::string& note(std::size_t layer) const;
  /// The parts of all layers.
  const model::PartIndex& parts() const { return index_; }
  /// Tensors whose names begin with `prefix`, without it. The journal outlives the result.
  std::vector<io::TensorToWrite> list(const std::string& prefix) const;
  /// Of those tensors, without their names.
  std::uint64_t bytes(const std::string& prefix) const;
  /// Refuses a layer that cannot be used. @throws Error corrupt_file (RUN_DAMAGED)
  [[noreturn]] void refuse(std::size_t layer, const std::string& why) const;
  /// The run is over: nothing is left.
  void discard();

 private:
  struct Layer;
  void open_layer(std::size_t layer);
  void check_owner(const Fingerprint& fingerprint) const;

  /// Held by one process at a time, until it ends in whatever way.
  class Lock {
   public:
    explicit Lock(const std::filesystem::path& directory);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    int descriptor_;
  };

  std::filesystem::path place_;
  Lock lock_;
  std::map<std::size_t, std::unique_ptr<Layer>> layers_;
  model::PartIndex index_;
};

}  // namespace tender::compress
