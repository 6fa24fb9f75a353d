#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "quant/registry.h"
#include "tensor/tensor_source.h"

namespace tender::model {

/// Parts of packed layers by owner (a site or a module path) and part name, and whether they were
/// read. Threads may read the parts of different owners at the same time.
class PartIndex {
 public:
  void add(std::string_view owner, std::string_view part, const TensorInfo& tensor);
  /// Adds tensors named "<owner>.<part>"; names without a dot are left out.
  void add(std::span<const TensorInfo> tensors);
  const TensorInfo* find(std::string_view owner, std::string_view part) const;
  std::vector<std::string> names(std::string_view owner) const;

  /// Full names of the owner's parts that find() was never asked for.
  std::vector<std::string> never_read(std::string_view owner) const;
  /// Lets the system take back the pages of the owner's parts; they stay readable.
  void release(std::string_view owner) const;

 private:
  struct Slot {
    const TensorInfo* tensor;
    mutable bool read = false;
  };
  std::map<std::string, std::map<std::string, Slot, std::less<>>, std::less<>> owners_;
};

/// The parts of one owner, as a method asks for them. The index outlives it.
class PartReader : public PartSource {
 public:
  PartReader(const PartIndex& index, std::string owner) : index_(index), owner_(std::move(owner)) {}

  std::optional<Part> find(std::string_view name) const override;
  std::string where() const override { return owner_; }
  std::vector<std::string> names() const override { return index_.names(owner_); }

 private:
  const PartIndex& index_;
  std::string owner_;
};

/// A site of a method from its parts, whose owners are named with a prefix; not prepared.
/// @throws Error corrupt_file
std::unique_ptr<quant::PackedSite> load_packed(const quant::MethodEntry& method,
                                               const PartIndex& parts, const SiteSpec& site,
                                               const std::string& prefix);

}  // namespace tender::model
