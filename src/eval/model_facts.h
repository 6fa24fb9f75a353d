#pragma once

#include <string>

#include "base/json.h"
#include "base/thread_pool.h"
#include "model/model.h"

namespace tender::eval {

/// The methods of a model's sites, "float" if none is quantized; "rtn, tender" where they differ.
std::string method_of(const model::Model& model);

/// The kernels by kind of site ("self_attn.qkv": "i8 panels, vnni"), in order of evaluation;
/// several of one kind are joined by "; ".
OrderedJson kernels_of(const model::Model& model);

/// What every measured number is reported with: `model` (name, architecture, parameters, weight
/// bytes), `method`, `kernels`, `threads`, `cpu`, `isa`, `peak_rss_bytes`.
/// @param name  of the model for people
void add_facts(const model::Model& model, const std::string& name, const ThreadPool& pool,
               OrderedJson& json);

}  // namespace tender::eval
