#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/matrix.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// A few of the rows that a calibration sees, to measure on what a choice costs: those whose bytes
/// have the smallest XXH3. Which they are depends on the rows alone, not on the order in which they
/// come; equal rows count once, at the first of their positions.
class RowSample {
 public:
  /// @param most  rows that are kept; 0 keeps none
  RowSample(std::size_t in, std::size_t most) : in_(in), most_(most) {}

  /// @param positions  one for each row, or empty where they do not matter: all 0
  void add(MatrixView<const float> rows, std::span<const std::int32_t> positions = {});
  /// As if the rows of the other one had been added, too.
  void merge(const RowSample& other);
  std::size_t rows() const { return kept_.size(); }
  /// [rows(), in], smallest hash first.
  Matrix values() const;
  /// [rows()], in the order of values().
  std::vector<std::int32_t> positions() const;

  /// Stores part `name`, float32 [rows, in], where there are rows, and `name`_positions, int32
  /// [rows], where one is not 0.
  void save(std::string_view name, PartSink& sink) const;
  /// @throws Error corrupt_file (CK_PART_SHAPE, QC_RANGE)
  void load(std::string_view name, const PartSource& source);

 private:
  std::size_t in_;
  std::size_t most_;
  struct Row {
    std::vector<float> values;
    std::int32_t position = 0;
  };
  std::map<std::uint64_t, Row> kept_;  ///< by hash
};

}  // namespace tender::quant
