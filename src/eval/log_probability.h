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

/// What one position says of a model Q beside its base P.
struct RowComparison {
  double base_loss = 0;   ///< -ln P(target), the bits of negative_log_probability()
  double loss = 0;        ///< -ln Q(target)
  double divergence = 0;  ///< KL(P || Q) = sum over v of P(v) (ln P(v) - ln Q(v)), in nats
  bool same_top = false;  ///< both have the same most probable token; the lowest id wins ties
};

/// Compares two rows of logits. With e_v the exponentials of P's differences to its maximum and S
/// the sums of both,
///
///     KL = (sum over v of e_v ((p_v - max p) - (q_v - max q))) / S_P + (ln S_Q - ln S_P)
///
/// in double, summed as negative_log_probability() sums; equal rows give 0 exactly. Rounding can
/// take it below 0 by as much as (vocabulary / 8 + 16) 2^-52 (D + 1), D the largest difference that
/// enters the sum: then it is 0.
///
/// @param base, model  [vocabulary]; a NaN anywhere gives NaN
RowComparison compare_rows(std::span<const float> base, std::span<const float> model,
                           std::size_t target);

}  // namespace tender::eval
