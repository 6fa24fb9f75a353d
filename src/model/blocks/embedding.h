#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "model/model.h"

namespace tender::model {

/// Rows of a table by their number, kept in the bytes in which they were stored.
class StoredRows {
 public:
  StoredRows(const WeightReader& weights, const std::string& name);

  std::size_t rows() const { return tensor_.shape[0]; }
  std::size_t width() const { return tensor_.shape[1]; }
  std::size_t bytes() const { return bytes_.size(); }
  /// @param out  [width]
  void read(std::size_t row, std::span<float> out) const;

 private:
  std::vector<std::byte> bytes_;
  TensorInfo tensor_;
};

/// The token embedding and the head. Where they are tied there is one copy, and a row of the
/// embedding is gathered from what the product reads: float32 panels, or blocks of a GGUF file that
/// stay packed. A head that was quantized from the embedding stands beside it as it is stored.
class Embedding {
 public:
  /// Not ready before prepare_head() and read_table() were called.
  /// @throws Error corrupt_file (QC_KEY) for a quantized head whose rows depend on their positions
  Embedding(const ModelSpec& spec, const WeightReader& weights,
            const kernels::GemmF32Kernel& kernel);
  /// Reads and rearranges the head. Any thread may do it, and another one read the table.
  /// @param spec, weights  of the constructor
  void prepare_head(const ModelSpec& spec, const WeightReader& weights, Isa isa);
  /// @param table  name of the embedding's tensor
  void read_table(const ModelSpec& spec, const WeightReader& weights, const std::string& table);

  /// Width of the embedding, not always that of the residual stream.
  std::size_t width() const { return width_; }
  /// null where the head is float
  const quant::PackedSite* head() const { return packed_.get(); }
  std::size_t bytes() const;
  /// rows[t] = table[tokens[t]].  @param rows  [tokens, width]
  void embed(std::span<const TokenId> tokens, MatrixView<float> rows) const;
  /// logits = hidden * head^T.  @param hidden  [tokens, width]  @param logits  [tokens, vocabulary]
  void logits(MatrixView<const float> hidden, MatrixView<float> logits, ThreadPool& pool) const;

 private:
  const kernels::GemmF32Kernel& kernel_;
  std::size_t width_;
  std::unique_ptr<quant::PackedSite> packed_;  ///< the head, or null where it is float
  kernels::PanelsF32 panels_;                  ///< the head, or nothing where it is packed
  std::vector<StoredRows> table_;              ///< one, or none where the head is the embedding too
};

/// Packs a stored matrix for the float product, some rows at a time.
kernels::PanelsF32 read_panels(const WeightReader& weights, const std::string& name);

}  // namespace tender::model
