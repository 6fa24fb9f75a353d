#pragma once

#include <cstddef>
#include <span>

namespace tender::eval {

/// -ln P(target), P the softmax of one row of logits, in double, the same bits on every CPU.
///
/// Exponentials of the differences to the maximum are summed in eight partial sums (logit i into
/// sum i mod 8, rising), which are added in rising order. The result is off by at most (vocabulary
/// / 8 + 16) 2^-53 + 2^-49, absolute: the relative error of the sum.
///
/// @param logits  [vocabulary]; a NaN anywhere gives NaN
double negative_log_probability(std::span<const float> logits, std::size_t target);

}  // namespace tender::eval
