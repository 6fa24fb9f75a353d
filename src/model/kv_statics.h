#pragma once

#include <string>

#include "kernels/attention_i8/attention_i8.h"
#include "model/model.h"
#include "tensor/tensor_source.h"

namespace tender::model {

using KvStatics = kernels::KvStatics;

/// What owns the calibrated parts of a layer's attention: "model.layers.0.self_attn.kv".
std::string kv_owner(const ModelSpec& spec, std::size_t layer);

/// Parts `key_bias` F32, `key_groups` and `value_groups` U8, each [kv_heads, head_width].
void save_kv_statics(const KvStatics& statics, const ModelInfo& info, PartSink& sink);

/// @throws Error corrupt_file (CK_PART_MISSING, CK_PART_SHAPE, QC_RANGE)
KvStatics read_kv_statics(const PartSource& source, const ModelInfo& info);

}  // namespace tender::model
