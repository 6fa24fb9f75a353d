#pragma once

#include "quant/method.h"
#include "quant/methods/gguf/gguf.h"
#include "quant/methods/gptq/gptq.h"
#include "quant/methods/llm_int8/llm_int8.h"
#include "quant/methods/number_formats/coded.h"
#include "quant/methods/rtn/rtn.h"
#include "quant/methods/smoothquant/smoothquant.h"
#include "quant/methods/tender/tender.h"

namespace tender::quant {

/// Every method of this build. One line here gives it a registry entry, the conformance tests and a
/// name on the command line.
using AllMethods = MethodList<Rtn, Gguf, Gptq, SmoothQuant, LlmInt8, Ant, Olive, Tender>;

}  // namespace tender::quant
