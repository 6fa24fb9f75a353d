#pragma once

#include <array>

#include "model/archs/llama/llama.h"
#include "model/archs/opt/opt.h"

namespace tender::model {

/// Every architecture of this build. One line here gives it a place in read_spec() and
/// load_model(), the conformance tests and a name in messages.
inline constexpr std::array kArchitectures = {&kLlama, &kOpt};

}  // namespace tender::model
