#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors_writer.h"
#include "model/model.h"
#include "quant/packed_site.h"
#include "tensor/tensor_source.h"

namespace tender::compress {

/// Parts of packed layers, or of calibrations, copied until they are written.
class StoredParts {
 public:
  /// Takes the parts of one owner as "<owner>.<part>". The store outlives it.
  class Sink : public PartSink {
   public:
    Sink(StoredParts& store, std::string owner) : store_(store), owner_(std::move(owner)) {}
    using PartSink::put;
    void put(std::string_view name, DType type, Shape shape,
             std::span<const std::byte> bytes) override;
    /// Bytes that went through this sink.
    std::size_t bytes() const { return bytes_; }

   private:
    StoredParts& store_;
    std::string owner_;
    std::size_t bytes_ = 0;
  };

  /// Appends them all to what write_safetensors() gets; the store outlives that call.
  void list(std::vector<io::TensorToWrite>& tensors) const;

 private:
  struct Stored {
    std::string name;
    DType type;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Stored> parts_;
};

/// Stores a quantized site and its layers, with a prefix before their names. @return bytes of each
/// layer, without what the site shares
std::vector<std::size_t> save_site(const quant::PackedSite& packed, const model::SiteSpec& site,
                                   StoredParts& parts, const std::string& prefix = "");

}  // namespace tender::compress
