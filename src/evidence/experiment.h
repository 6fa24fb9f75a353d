#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/model.h"

namespace tender::evidence {

/// One row of a table: a recipe, and what is to be known of it beside its numbers.
struct Variant {
  std::string group;    ///< "INT8": rows of a group stand together
  std::string name;     ///< "per column"
  std::string method;   ///< of quant/methods.h
  std::string options;  ///< JSON
  std::string remark;   ///< "no integer product can have it"
  double x = 0;         ///< where it stands in a plot: groups, rows of a chunk
  int paper_bits = 0;   ///< not 0: groups are those of the paper, where the model is its own
  std::optional<model::AttentionBits> attention{};  ///< of integer attention; nothing: float
  /// Kinds of sites that are quantized, by what follows the last dot of a kind, in the words of any
  /// architecture; empty: all.
  std::vector<std::string> only{};
};

/// One curve of a plot: the variants of a group, over x.
struct Axis {
  std::string group;  ///< whose variants
  std::string label;  ///< of its x: "groups"
};

/// What a command measures, as data.
struct Experiment {
  std::string_view name;
  std::string_view summary;
  std::vector<std::size_t> seqlens;  ///< of the evaluation; one table for each
  std::vector<Variant> variants;
  std::vector<Axis> plot;  ///< empty where a table says it all
};

std::span<const Experiment> all_experiments();
/// @throws Error invalid_argument (EXPERIMENT_UNKNOWN), naming those that exist
const Experiment& experiment(std::string_view name);

/// Channel groups that the paper uses for a model of its own, at 4 or 8 bits (tender.md 2.5).
std::optional<int> published_groups(const model::ModelInfo& model, int bits);

struct PublishedOptions {
  Json options;
  std::string note;  ///< which number, and whose
};
/// The options with the groups of published_groups() where they ask for a mode of the paper, static
/// or dynamic, and say no number; nothing for any other, and for any method but tender.
/// @param options  as given, not resolved  @throws Error invalid_argument (OPTION_…)
std::optional<PublishedOptions> published_options(const model::ModelInfo& model,
                                                  std::string_view method, const Json& options);

/// What the paper prints for a cell, if the model is one of its own (Lee, Lee, Sim, ISCA 2024).
/// @param text  "wiki" or "ptb"; other texts have no published value
/// @param row   Variant::group + " " + Variant::name, or "float" for the base
std::optional<double> published(std::string_view experiment, const model::ModelInfo& model,
                                std::size_t seqlen, std::string_view text, const std::string& row);

}  // namespace tender::evidence
