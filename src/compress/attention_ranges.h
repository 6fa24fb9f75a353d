#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "model/kv_statics.h"
#include "model/model.h"
#include "tensor/tensor_source.h"

namespace tender::compress {

/// What the keys, values and queries of a layer reach over a calibration text, by channel of a KV
/// head: lowest and highest key, largest magnitudes of the queries that meet it, and of values.
class AttentionRanges {
 public:
  explicit AttentionRanges(const model::ModelInfo& info);

  void observe(const model::AttentionRows& rows);
  /// As if it had seen the rows of the other one, too.
  void merge(const AttentionRanges& other);
  /// The middles of keys as biases (Lee, Lee, Sim 2024, of keys after RoPE), and channels in groups
  /// whose scales are powers of two apart, the largest in the top one: values by their reach, keys
  /// by the root of their reach over that of the queries, which shares out between both what a
  /// channel takes of their codes.
  /// @param name  of the layer, for messages  @throws Error invalid_input (Q_NONFINITE)
  model::KvStatics settle(const std::string& name) const;

  /// Parts `key_low`, `key_high`, `query_peak`, `value_peak`: F32 [kv_heads, head_width].
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file (CK_PART_…, QC_RANGE)
  void load(const PartSource& source);

 private:
  std::size_t kv_heads_;
  std::size_t head_width_;
  std::size_t group_;  ///< query heads of a KV head
  std::vector<float> key_low_, key_high_, query_peak_, value_peak_;
};

}  // namespace tender::compress
