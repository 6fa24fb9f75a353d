#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

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

/// The token embedding and the head. Where they are tied there is one copy, float32 in the panels
/// of the product, and a row of the embedding is gathered from it.
class Embedding {
 public:
  /// @param table, head  names of their tensors; the head's is not read if the two are tied
  Embedding(const WeightReader& weights, const std::string& table, const std::string& head,
            bool tied, const kernels::GemmF32Kernel& kernel);

  /// Width of the embedding, not always that of the residual stream.
  std::size_t width() const { return head_.shape().in; }
  std::size_t bytes() const;
  /// rows[t] = table[tokens[t]].  @param rows  [tokens, width]
  void embed(std::span<const TokenId> tokens, MatrixView<float> rows) const;
  /// logits = hidden * head^T.  @param hidden  [tokens, width]  @param logits  [tokens, vocabulary]
  void logits(MatrixView<const float> hidden, MatrixView<float> logits, ThreadPool& pool) const;

 private:
  const kernels::GemmF32Kernel& kernel_;
  kernels::PanelsF32 head_;
  std::vector<StoredRows> table_;  ///< one, or none where the head is tied
};

/// Packs a stored matrix for the float product, some rows at a time.
kernels::PanelsF32 read_panels(const WeightReader& weights, const std::string& name);

}  // namespace tender::model
