#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/matrix.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// A few of the rows that a calibration sees, to measure on what a choice costs: those whose bytes
/// have the smallest XXH3. Which they are depends on the rows alone, not on the order in which they
/// come; equal rows count once.
class RowSample {
 public:
  /// @param most  rows that are kept; 0 keeps none
  RowSample(std::size_t in, std::size_t most) : in_(in), most_(most) {}

  void add(MatrixView<const float> rows);
  std::size_t rows() const { return kept_.size(); }
  /// [rows(), in], smallest hash first.
  Matrix values() const;

  /// Stores part `name`, float32 [rows, in], where there are rows.
  void save(std::string_view name, PartSink& sink) const;
  /// @throws Error corrupt_file (CK_PART_SHAPE, QC_RANGE)
  void load(std::string_view name, const PartSource& source);

 private:
  std::size_t in_;
  std::size_t most_;
  std::map<std::string, std::vector<float>> kept_;  ///< by hash
};

}  // namespace tender::quant
