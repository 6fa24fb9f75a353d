#include "quant/methods/smoothquant/smoothquant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "quant/methods/rtn/rtn.h"
#include "quant/packed_site_of.h"

namespace tender::quant {
namespace {

constexpr std::size_t kIn = 40, kOut = 24, kRows = 50;

/// Every tenth channel of the rows is 60 times as loud.
class SmoothQuantTest : public ::testing::Test {
 protected:
  SmoothQuantTest() : w(kOut, kIn), other(kOut / 2, kIn), x(kRows, kIn), positions(kRows) {
    Rng rng(3, "smoothquant");
    for (float& value : w.span()) value = 0.1F * rng.normal();
    for (float& value : other.span()) value = 0.3F * rng.normal();
    for (std::size_t m = 0; m < kRows; ++m)
      for (std::size_t k = 0; k < kIn; ++k) x(m, k) = (k % 10 == 3 ? 60.0F : 1.0F) * rng.normal();
    std::iota(positions.begin(), positions.end(), 0);
    weights = {w.view(), other.view()};
  }
  SmoothQuantInput input_of(const SmoothQuantOptions& options) const {
    const SmoothQuant method(options);
    SiteShape shape;
    shape.in = kIn;
    shape.outs = {kOut, kOut / 2};
    auto seen = method.calibrate(shape);
    seen.observe({x.view(), positions});
    return method.input(seen, weights);
  }
  float row_reach(std::size_t k) const {
    float most = 0;
    for (std::size_t m = 0; m < kRows; ++m) most = std::max(most, std::abs(x(m, k)));
    return most;
  }
  float layers_reach(std::size_t k) const {
    float most = 0;
    for (std::size_t n = 0; n < w.rows(); ++n) most = std::max(most, std::abs(w(n, k)));
    for (std::size_t n = 0; n < other.rows(); ++n) most = std::max(most, std::abs(other(n, k)));
    return most;
  }
  double error_of(const SmoothQuantInput& input) const {
    std::vector<Matrix> exact;
    for (const auto& each : weights) {
      Matrix& y = exact.emplace_back(kRows, each.rows());
      for (std::size_t m = 0; m < kRows; ++m)
        for (std::size_t n = 0; n < each.rows(); ++n)
          y(m, n) = std::inner_product(x.row(m).begin(), x.row(m).end(), each.row(n).begin(), 0.0F);
    }
    return smoothquant_error(input, x.view(), weights, exact);
  }

  Matrix w, other, x;
  std::vector<std::int32_t> positions;
  std::vector<MatrixView<const float>> weights;
};

TEST_F(SmoothQuantTest, FactorsAreThoseOfThePaperOverAllLayersOfTheSite) {
  for (const int alpha : {0, 50, 85, 100}) {
    SmoothQuantOptions options;
    options.alpha_percent = alpha;
    const SmoothQuantInput input = input_of(options);
    EXPECT_EQ(input.alpha_percent, alpha);
    for (std::size_t k = 0; k < kIn; ++k) {
      const double expected =
          std::pow(row_reach(k), alpha / 100.0) / std::pow(layers_reach(k), 1 - alpha / 100.0);
      EXPECT_NEAR(input.factors[k], expected, 2e-7 * expected) << "channel " << k;  // float32
    }
  }
}

TEST_F(SmoothQuantTest, FactorsOfPowersOfTwoAreTheNearestByTheirLogarithm) {
  SmoothQuantOptions options;
  options.alpha_percent = 50;
  const SmoothQuantInput any = input_of(options);
  options.factors = SmoothQuantFactors::powers_of_two;
  const SmoothQuantInput powers = input_of(options);
  for (std::size_t k = 0; k < kIn; ++k) {
    int exponent = 0;
    EXPECT_EQ(std::frexp(powers.factors[k], &exponent), 0.5F);
    EXPECT_LE(std::abs(std::log2(powers.factors[k] / any.factors[k])), 0.5F + 1e-6F);
  }
}

TEST_F(SmoothQuantTest, WithPowersOfTwoRowsAndWeightsAreScaledWithoutRounding) {
  SmoothQuantOptions options;
  options.factors = SmoothQuantFactors::powers_of_two;
  options.alpha_percent = 50;
  const SmoothQuantInput input = input_of(options);
  Matrix scaled(kOut, kIn);
  scale_columns(w.view(), input.factors, scaled.view());
  for (std::size_t n = 0; n < kOut; ++n)
    for (std::size_t k = 0; k < kIn; ++k) EXPECT_EQ(scaled(n, k) / input.factors[k], w(n, k));
  const RowRounding rounding = smoothquant_rounding(input);
  for (std::size_t k = 0; k < kIn; ++k)
    EXPECT_EQ(rounding.chunks[0].multiplier[k] * input.factors[k], 1.0F);
}

TEST_F(SmoothQuantTest, ChannelsWithoutReachAreLeftAlone) {
  const ChannelReach reach{{0, 1, 2, 0x1p-90F, 3e38F}, {1, 0, 0.5F, 1, 3e38F}};
  const auto factors = smoothing_factors(reach, 50, false);
  EXPECT_EQ(factors[0], 1.0F);
  EXPECT_EQ(factors[1], 1.0F);
  EXPECT_FLOAT_EQ(factors[2], 2.0F);
  EXPECT_EQ(factors[3], 1.0F);
  EXPECT_TRUE(std::isfinite(3e38F * factors[4]));
  EXPECT_LE(3e38F * smoothing_factors(reach, 100, false)[4], 0x1p120F * (1 + 1e-5F));
}

TEST_F(SmoothQuantTest, TheSearchFindsTheLeastErrorOfTheGridAndOfNoSmoothing) {
  for (const auto steps : {SmoothQuantSteps::token, SmoothQuantSteps::tensor}) {
    SmoothQuantOptions options;
    options.activation_granularity = steps;
    const SmoothQuantInput found = input_of(options);
    const double least = error_of(found);
    for (int alpha = 0; alpha <= 100; alpha += 5) {
      options.alpha_percent = alpha;
      EXPECT_LE(least, error_of(input_of(options))) << alpha;
    }
    SmoothQuantInput plain = found;
    plain.factors.assign(kIn, 1.0F);
    if (steps == SmoothQuantSteps::tensor) {
      plain.step = 0;
      for (const float value : x.span()) plain.step = std::max(plain.step, std::abs(value) / 127);
    }
    EXPECT_LT(least, 0.25 * error_of(plain))
        << "60 times louder channels: half of it moved is a step some 7 times as fine";
    EXPECT_GT(found.alpha_percent, 0);
  }
}

TEST_F(SmoothQuantTest, AStaticStepIsTheLargestSmoothedMagnitude) {
  SmoothQuantOptions options;
  options.activation_granularity = SmoothQuantSteps::tensor;
  options.alpha_percent = 50;
  const SmoothQuantInput input = input_of(options);
  float most = 0;
  for (std::size_t k = 0; k < kIn; ++k) most = std::max(most, row_reach(k) / input.factors[k]);
  EXPECT_FLOAT_EQ(input.step, most / 127);
}

TEST_F(SmoothQuantTest, PerTokenItIsTheIntegerSumOfSmoothedRowsAndWeights) {
  SmoothQuantOptions options;
  options.alpha_percent = 50;
  options.factors = SmoothQuantFactors::powers_of_two;
  SmoothQuantInput input = input_of(options);
  const std::vector<float> s = input.factors;
  ThreadPool pool(2);
  const SymmetricCodes codes = SmoothQuant(options).quantize(w.view(), input, nullptr, pool);
  std::vector<SmoothQuantPacked> packed;
  packed.push_back(SmoothQuant::pack(codes));
  PackedSiteOf<SmoothQuant> site(std::move(input), std::move(packed));
  site.prepare(host_isa());
  Matrix y(kRows, kOut);
  const std::array outputs = {SiteOutput{y.view(), {}}};
  site.matmul({x.view(), positions}, outputs, pool);
  for (std::size_t m = 0; m < kRows; ++m) {
    float peak = 0;
    for (std::size_t k = 0; k < kIn; ++k) peak = std::max(peak, std::abs(x(m, k) / s[k]));
    for (std::size_t n = 0; n < kOut; ++n) {
      std::int32_t sum = 0;
      for (std::size_t k = 0; k < kIn; ++k)
        sum += static_cast<std::int32_t>(std::lrint(x(m, k) / s[k] * (127 / peak))) *
               codes.codes[n * kIn + k];
      EXPECT_EQ(y(m, n), static_cast<float>(sum) * (codes.scales[n] * (peak / 127)));
    }
  }
}

}  // namespace
}  // namespace tender::quant
