#include "quant/methods/gptq/gptq.h"

namespace tender::quant {

MethodTraits Gptq::traits() const {
  MethodTraits traits = Rtn::traits();
  traits.wants_moment = true;
  traits.first_row_share = options_.first_row_share;
  traits.idempotent = false;  // what was rounded away is not in the dequantized weights
  return traits;
}

SymmetricCodes Gptq::quantize(MatrixView<const float> w, const Input& input,
                              const SecondMoment* moment, ThreadPool& pool) const {
  return Rtn::quantize(w, input,
                       {.weight_search = WeightSearch::gptq,
                        .weight_scale = options_.weight_scale,
                        .damping = options_.damping,
                        .sweep_order = options_.sweep_order},
                       moment, pool);
}

}  // namespace tender::quant
