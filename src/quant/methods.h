#pragma once

#include "quant/method.h"

namespace tender::quant {

/// Every method of this build. One line here gives it a registry entry, the conformance tests and a
/// name on the command line.
using AllMethods = MethodList<>;

}  // namespace tender::quant
