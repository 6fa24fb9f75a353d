#pragma once

namespace tender::kernels {

// e^x = 2^n * e^r, n = round(x / ln 2), r = x - n ln 2. Adding 1.5 * 2^23 rounds to the nearest
// integer (ties to even) and leaves n in the low bits of the sum.
constexpr float kExpLowest = -104.0F;  // e^-104 < 2^-150: rounds to zero
constexpr float kExpHighest = 89.0F;   // e^89 > 2^128: infinity
constexpr float kExpRounder = 12582912.0F;
constexpr float kExpLog2E = 0x1.715476p+0F;
constexpr float kExpLn2High = 0x1.62e430p-1F;
constexpr float kExpLn2Low = -0x1.05c610p-29F;  // high + low = ln 2 to 2^-53
// e^r = 1 + r + r^2 (c2 + c3 r + ... + c6 r^4): the best such polynomial for |r| <= ln(2) / 2,
// found by weighted least squares on Chebyshev nodes; 3.1e-9 off, a twentieth of an ulp.
constexpr float kExpC2 = 0x1.fffffcp-2F;
constexpr float kExpC3 = 0x1.555492p-3F;
constexpr float kExpC4 = 0x1.5558f2p-5F;
constexpr float kExpC5 = 0x1.1239e2p-7F;
constexpr float kExpC6 = 0x1.6a2434p-10F;

}  // namespace tender::kernels
