#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/contracts.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// Parts in memory: takes what a packed layer stores, and gives it back.
class MemoryParts final : public PartSink, public PartSource {
 public:
  struct Item {
    std::string name;
    DType type = DType::u8;
    Shape shape;
    std::vector<std::byte> bytes;
    friend bool operator==(const Item&, const Item&) = default;
  };

  explicit MemoryParts(std::string where = "layer") : where_(std::move(where)) {}

  using PartSink::put;
  void put(std::string_view name, DType type, Shape shape,
           std::span<const std::byte> bytes) override {
    require(!find(name), "the name of a part is given once");
    items.push_back({std::string(name), type, std::move(shape), {bytes.begin(), bytes.end()}});
  }
  std::optional<Part> find(std::string_view name) const override {
    for (const Item& item : items)
      if (item.name == name) return Part{item.name, item.type, item.shape, item.bytes};
    return std::nullopt;
  }
  std::string where() const override { return where_; }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const Item& item : items) names.push_back(item.name);
    return names;
  }
  std::size_t payload() const {
    std::size_t bytes = 0;
    for (const Item& item : items) bytes += item.bytes.size();
    return bytes;
  }

  std::vector<Item> items;

 private:
  std::string where_;
};

}  // namespace tender::quant
