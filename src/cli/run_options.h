#pragma once

#include <CLI/CLI.hpp>
#include <optional>

#include "model/model.h"

namespace tender::cli {

/// Declares what may be asked of any model that is run.
inline void declare_run_options(CLI::App& app, model::RunOptions& options) {
  app.add_option("--kv-bits", options.kv_bits,
                 "Attention in integers with a KV cache of 8 or 4 bits (default: as the model was "
                 "quantized; float if it was not)");
}

}  // namespace tender::cli
