#include "quant/methods/llm_int8/llm_int8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/half.h"
#include "base/rng.h"
#include "quant/packed_site_of.h"

namespace tender::quant {
namespace {

constexpr std::size_t kIn = 29, kOut = 18, kRows = 7;

/// Channels 4 and 20 reach beyond 6, the others stay below.
class LlmInt8Test : public ::testing::Test {
 protected:
  LlmInt8Test() : w(kOut, kIn), x(kRows, kIn), positions(kRows) {
    Rng rng(4, "llm_int8");
    for (float& value : w.span()) value = 0.1F * rng.normal();
    for (std::size_t m = 0; m < kRows; ++m)
      for (std::size_t k = 0; k < kIn; ++k) {
        const float value = std::clamp(rng.normal(), -3.0F, 3.0F);
        x(m, k) = k == 4 || k == 20 ? value + 40 : value;
      }
    std::iota(positions.begin(), positions.end(), 0);
  }
  Rows rows() const { return {x.view(), positions}; }
  LlmInt8Input input_of(const LlmInt8Options& options) const {
    SiteShape shape;
    shape.in = kIn;
    shape.outs = {kOut};
    const LlmInt8 method(options);
    auto seen = method.calibrate(shape);
    seen.observe(rows());
    return method.input(seen, {});
  }
  LlmInt8Codes codes_of(const LlmInt8Input& input) const {
    ThreadPool pool(1);
    return LlmInt8().quantize(w.view(), input, nullptr, pool);
  }

  Matrix w, x;
  std::vector<std::int32_t> positions;
};

TEST_F(LlmInt8Test, OutliersAreTheChannelsThatReachTheThresholdInCalibration) {
  EXPECT_EQ(input_of({}).outliers, (std::vector<std::int32_t>{4, 20}));
  LlmInt8Options options;
  options.threshold = 1000;
  EXPECT_TRUE(input_of(options).outliers.empty());
}

TEST_F(LlmInt8Test, TheQuietestChannelStaysAnIntegerWhateverTheThreshold) {
  for (float& value : x.span()) value += 50;
  EXPECT_EQ(input_of({}).outliers.size(), kIn - 1);
}

TEST_F(LlmInt8Test, AResultIsTheIntegerSumOfRegularChannelsAndTheFloat16ProductOfTheOthers) {
  LlmInt8Input input = input_of({});
  const LlmInt8Codes codes = codes_of(input);
  std::vector<std::size_t> regular;
  for (std::size_t k = 0; k < kIn; ++k)
    if (k != 4 && k != 20) regular.push_back(k);
  ASSERT_EQ(codes.regular.shape, (LinearShape{kOut, regular.size()}));
  std::vector<LlmInt8Packed> packed;
  packed.push_back(LlmInt8::pack(codes));
  PackedSiteOf<LlmInt8> site(std::move(input), std::move(packed));
  site.prepare(host_isa());
  EXPECT_NE(site.kernel().find("2 of 29 channels in gemm_f32"), std::string::npos);
  Matrix y(kRows, kOut);
  const std::array outputs = {SiteOutput{y.view(), {}}};
  ThreadPool pool(2);
  site.matmul(rows(), outputs, pool);
  const auto half = [](float value) { return half_to_float(float_to_half(value)); };
  for (std::size_t m = 0; m < kRows; ++m) {
    float peak = 0;
    for (const std::size_t k : regular) peak = std::max(peak, std::abs(x(m, k)));
    for (std::size_t n = 0; n < kOut; ++n) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < regular.size(); ++i)
        sum += static_cast<std::int32_t>(std::lrint(x(m, regular[i]) * (127 / peak))) *
               codes.regular.codes[n * regular.size() + i];
      const float thin =
          std::fma(half(x(m, 20)), half(w(n, 20)), std::fma(half(x(m, 4)), half(w(n, 4)), 0.0F));
      EXPECT_EQ(y(m, n), static_cast<float>(sum) * (codes.regular.scales[n] * (peak / 127)) + thin);
    }
  }
}

TEST_F(LlmInt8Test, ThePeakOfARowIsThatOfItsRegularChannels) {
  const LlmInt8Input input = input_of({});
  Matrix louder = x.copy();
  for (std::size_t m = 0; m < kRows; ++m) louder(m, 4) = 1000;
  Matrix before(kRows, kIn), after(kRows, kIn);
  LlmInt8::rounded(input, rows(), before.view());
  LlmInt8::rounded(input, {louder.view(), positions}, after.view());
  for (std::size_t m = 0; m < kRows; ++m)
    for (std::size_t k = 0; k < kIn; ++k)
      EXPECT_EQ(after(m, k), k == 4 ? 1000.0F : before(m, k)) << m << " " << k;
}

TEST_F(LlmInt8Test, WhatFloat16CannotHoldBecomesItsLargest) {
  const LlmInt8Input input = input_of({});
  x(0, 4) = -1e6F;
  Matrix out(kRows, kIn);
  LlmInt8::rounded(input, rows(), out.view());
  EXPECT_EQ(out(0, 4), -65504.0F);
}

TEST_F(LlmInt8Test, BitsCountTheChannelsThatStayFloat16) {
  const LlmInt8Input input = input_of({});
  EXPECT_DOUBLE_EQ(LlmInt8::activation_bits(input), (27 * 8 + 2 * 16 + 32) / 29.0);
  EXPECT_EQ(LlmInt8::bytes(LlmInt8::pack(codes_of(input))), kOut * (27 + 2 * 2 + 4));
}

}  // namespace
}  // namespace tender::quant
