#pragma once

// Included after one of lanes/*.h. The operations of exp_f32() in kernels/math.cc, sixteen at a
// time.

namespace tender::kernels {
namespace {

inline F16 exp_of(F16 x) {
  x = min(set1(kExpHighest), max(set1(kExpLowest), x));
  const F16 shifted = fma(x, set1(kExpLog2E), set1(kExpRounder));
  const F16 n = sub(shifted, set1(kExpRounder));
  const F16 r = fma(n, set1(-kExpLn2Low), fma(n, set1(-kExpLn2High), x));
  F16 p = fma(set1(kExpC6), r, set1(kExpC5));
  p = fma(p, r, set1(kExpC4));
  p = fma(p, r, set1(kExpC3));
  p = fma(p, r, set1(kExpC2));
  p = fma(p, r, set1(1.0F));
  p = fma(p, r, set1(1.0F));
  return scale_by_power(p, shifted);
}

}  // namespace
}  // namespace tender::kernels
