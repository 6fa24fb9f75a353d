#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "model/model.h"

namespace tender::cli {

/// Declares what may be asked of any model that is run.
/// @param whose  appended to what help says of each
inline void declare_run_options(CLI::App& app, model::RunOptions& options,
                                const std::string& whose = "") {
  app.add_option("--kv-bits", options.kv_bits,
                 "Attention in integers with a KV cache of 8 or 4 bits (default: as the model was "
                 "quantized; float if it was not)" +
                     whose);
  app.add_option_function<std::string>(
         "--weights",
         [&options](const std::string& name) {
           options.weights =
               name == "packed" ? model::BlockWeights::packed : model::BlockWeights::dequantized;
         },
         "Of a GGUF file in Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K: packed, with rows "
         "of 8 bits, or dequantized to float32 (default: dequantized for eval, else packed)" +
             whose)
      ->check(CLI::IsMember({"packed", "dequantized"}));
}

/// Where speed is what is wanted: packed, if the file can and nothing else was asked for.
inline void prefer_packed(const io::Checkpoint& checkpoint, model::RunOptions& options) {
  if (!options.weights && model::has_block_weights(checkpoint, model::read_spec(checkpoint)))
    options.weights = model::BlockWeights::packed;
}

}  // namespace tender::cli
