#pragma once

namespace tender::kernels {

// Elementary functions in fixed IEEE operations (+, -, *, /, fma, bit moves): the same bits on
// every CPU and with every C library, whose own exp or sin differ in the last place. Everything
// that reaches a result uses these. NaN gives NaN.

/// e^x, at most 1 ulp off (0.895 measured over all floats), denormal results included.
/// Overflows to infinity above 88.72284, underflows to zero below -103.97208. The kernels' vectors
/// do the same operations.
float exp_f32(float x);

/// e^x, at most 1 ulp off where the result is normal.
double fixed_exp(double x);

/// Natural logarithm, at most 1 ulp off; -infinity of 0, NaN below.
double fixed_log(double x);

/// Sine and cosine for |x| <= 2^30: off by at most 1.5 ulp of the result or 2^-60, whichever is
/// larger (the reduced argument is rounded to double); NaN beyond (angles of rotary positions end
/// far below).
double fixed_sin(double x);
double fixed_cos(double x);

/// x^y for x > 0, as fixed_exp(y * fixed_log(x)): relative error at most (2 + 2 |y ln x|) 2^-53.
double fixed_pow(double x, double y);

}  // namespace tender::kernels
