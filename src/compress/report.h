#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/model.h"
#include "tensor/tensor_source.h"

namespace tender::compress {

/// One quantized linear layer.
struct LayerReport {
  std::string name;    ///< module path
  std::string method;  ///< "tender"
  std::string site;    ///< the layers of one site share their input's metadata
  std::string rows;    ///< how the site's rows are rounded: "row-scaled, 8 groups"
  std::string source;  ///< type that its weights were stored in: "Q4_1"
  std::size_t out = 0;
  std::size_t in = 0;
  std::size_t bytes = 0;            ///< stored for this layer, without what its site shares
  double relative_error = 0;        ///< |W - dequantized| / |W|, Frobenius norms
  std::optional<double> sqnr_db{};  ///< of its outputs on rows of the calibration text
  double seconds = 0;
  double bits_per_weight() const;
};

/// One file of the source.
struct SourceFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// Everything that is known of a quantization when it is done: what tender_report.json, the model
/// card, and the command's JSON are made of.
struct Report {
  // source
  std::string source_name;
  std::string container;
  std::string architecture;
  std::string model_type;
  std::uint64_t parameters = 0;
  std::vector<SourceFile> files;
  std::uint64_t source_bytes = 0;  ///< of its tensors
  std::map<std::string, std::size_t>
      quantized_from;                            ///< stored type → matrices that were quantized
  std::map<std::string, std::size_t> kept_from;  ///< stored type → tensors that stay float
  // recipe
  std::string method;
  std::string options;                              ///< resolved, as JSON
  std::optional<model::AttentionBits> attention{};  ///< nothing: in float
  std::string float_type;
  std::vector<std::string> keep_float;  ///< kinds of sites that stay float
  std::string calibration;              ///< as JSON, or empty
  // result
  std::vector<LayerReport> layers;
  std::optional<LayerReport> head;             ///< where it was quantized
  std::size_t quantized_bytes = 0;             ///< of all packed parts, what sites share included
  std::uint64_t stored_bytes = 0;              ///< of the weight files
  std::map<std::string, std::string> tensors;  ///< stored tensor → XXH3
  double seconds = 0;
  std::size_t peak_resident_bytes = 0;
  std::size_t threads = 0;

  std::uint64_t quantized_weights() const;
  /// Of the quantized layers, all their parts counted.
  double bits_per_weight() const;
  /// All stored bytes over all parameters.
  double bits_per_weight_model() const;
};

/// Reports of layers as text, and back: what a journal notes of them.
std::string layers_note(const std::vector<LayerReport>& layers);
/// @throws nlohmann::json::exception for text that the other did not make
std::vector<LayerReport> layers_of_note(const std::string& note);

/// tender_report.json.
OrderedJson report_json(const Report& report, std::string_view tool_version);
/// README.md: only what the report says, and nothing that depends on machine or time.
std::string model_card(const Report& report);
/// "210 matrices from Q4_1", the most frequent type first.
std::string listed_types(const std::map<std::string, std::size_t>& types, std::string_view one,
                         std::string_view many);

}  // namespace tender::compress
