#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/contracts.h"
#include "base/cpu.h"

namespace tender {

/// One kernel as `tender inspect --kernels` shows it.
struct KernelChoice {
  std::string family;  ///< such as "gemm_f32"
  std::string name;    ///< such as "avx512"
  std::string needs;
  bool chosen = false;
  std::string why;  ///< why not, or empty
};

/// The first kernel of an array (best first) whose needs are met; the scalar one stands last.
template <class Kernels>
const auto& best_kernel(const Kernels& kernels, Isa isa) {
  for (const auto& kernel : kernels)
    if (contains(isa, kernel.needs)) return kernel;
  contract_violated("the last kernel of an array needs nothing", __FILE__, __LINE__);
}

/// Appends what best_kernel() would say of each kernel of an array, and why.
template <class Kernels>
void describe_kernels(std::string_view family, const Kernels& kernels, Isa detected, Isa allowed,
                      std::vector<KernelChoice>& out) {
  bool taken = false;
  for (const auto& kernel : kernels) {
    KernelChoice choice{std::string(family), std::string(kernel.name), to_string(kernel.needs),
                        false, ""};
    if (!contains(detected, kernel.needs))
      choice.why = "this CPU lacks " + to_string(kernel.needs);
    else if (!contains(allowed, kernel.needs))
      choice.why = "TENDER_CPU forbids it";
    else if (taken)
      choice.why = "a better one runs";
    else
      choice.chosen = taken = true;
    out.push_back(std::move(choice));
  }
}

}  // namespace tender
