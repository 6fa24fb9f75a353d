#include "quant/methods/rtn/rtn.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/rng.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"

namespace tender::quant {
namespace {

constexpr std::size_t kIn = 37, kOut = 21, kRows = 6;

class RtnTest : public ::testing::Test {
 protected:
  RtnTest() : w(kOut, kIn), x(kRows, kIn), positions(kRows) {
    Rng rng(2, "rtn");
    for (float& value : w.span()) value = rng.normal();
    for (float& value : x.span()) value = 3 * rng.normal();
    std::iota(positions.begin(), positions.end(), 0);
  }
  RtnInput input_of(const RtnOptions& options) const {
    const Rtn method(options);
    SiteShape shape;
    shape.in = kIn;
    shape.outs = {kOut};
    auto seen = method.calibrate(shape);
    seen.observe(rows());
    const std::array<MatrixView<const float>, 1> weights = {w.view()};
    return method.input(seen, weights);
  }
  Rows rows() const { return {x.view(), positions}; }
  /// The result and the name of the kernel.
  std::pair<Matrix, std::string> run(const RtnOptions& options, Isa isa) const {
    RtnInput input = input_of(options);
    std::vector<RtnPacked> packed;
    ThreadPool pool(2);
    packed.push_back(Rtn::pack(Rtn(options).quantize(w.view(), input, nullptr, pool)));
    PackedSiteOf<Rtn> site(std::move(input), std::move(packed));
    site.prepare(isa);
    Matrix y(kRows, kOut);
    const std::array outputs = {SiteOutput{y.view(), {}}};
    site.matmul(rows(), outputs, pool);
    return {std::move(y), site.kernel()};
  }
  SymmetricCodes codes_of(const RtnOptions& options) const {
    ThreadPool pool(1);
    return Rtn(options).quantize(w.view(), input_of(options), nullptr, pool);
  }

  Matrix w, x;
  std::vector<std::int32_t> positions;
};

TEST_F(RtnTest, PerTokenItIsTheIntegerSumTimesOneScaleOfTheRowAndOneOfTheOutput) {
  const RtnOptions options;
  const SymmetricCodes codes = codes_of(options);
  const auto [y, kernel] = run(options, Isa::scalar);
  EXPECT_EQ(kernel, "gemm_i8 scalar");
  for (std::size_t m = 0; m < kRows; ++m) {
    float peak = 0;
    for (const float value : x.row(m)) peak = std::max(peak, std::abs(value));
    for (std::size_t n = 0; n < kOut; ++n) {
      std::int32_t sum = 0;
      for (std::size_t k = 0; k < kIn; ++k)
        sum += static_cast<std::int32_t>(std::lrint(x(m, k) * (127 / peak))) *
               codes.codes[n * kIn + k];
      EXPECT_EQ(y(m, n), static_cast<float>(sum) * (codes.scales[n] * (peak / 127)));
    }
  }
}

TEST_F(RtnTest, WithWeightGroupsEachSumIsScaledAndTheyAreAddedInOrder) {
  RtnOptions options;
  options.weight_bits = 4;
  options.weight_granularity = WeightGranularity::group;
  options.group_size = 10;
  const SymmetricCodes codes = codes_of(options);
  const auto [y, kernel] = run(options, host_isa());
  EXPECT_NE(kernel.find("one sum per weight group"), std::string::npos);
  for (std::size_t m = 0; m < kRows; ++m) {
    float peak = 0;
    for (const float value : x.row(m)) peak = std::max(peak, std::abs(value));
    for (std::size_t n = 0; n < kOut; ++n) {
      float total = 0;
      for (std::size_t begin = 0; begin < kIn; begin += 10) {
        std::int32_t sum = 0;
        for (std::size_t k = begin; k < std::min(begin + 10, kIn); ++k)
          sum += static_cast<std::int32_t>(std::lrint(x(m, k) * (127 / peak))) *
                 codes.codes[n * kIn + k];
        total += static_cast<float>(sum) * codes.scale(n, begin);
      }
      EXPECT_EQ(y(m, n), total * (peak / 127));
    }
  }
}

TEST_F(RtnTest, AStaticScaleForTheTensorIsTheLargestMagnitudeThatCalibrationSaw) {
  RtnOptions options;
  options.activation_granularity = ActivationGranularity::tensor;
  float peak = 0;
  for (const float value : x.span()) peak = std::max(peak, std::abs(value));
  EXPECT_EQ(input_of(options).scales, (std::vector<float>{peak / 127}));
  EXPECT_TRUE(Rtn(options).traits().wants_inputs);
  EXPECT_EQ(Rtn(options).traits().inputs, InputRounding::by_position);
  EXPECT_FALSE(Rtn().traits().wants_inputs);
}

TEST_F(RtnTest, ScalesPerInputChannelAreEvaluatedInFloatAndSaySo) {
  RtnOptions options;
  options.activation_granularity = ActivationGranularity::channel;
  EXPECT_EQ(input_of(options).scales.size(), kIn);
  const auto [y, kernel] = run(options, host_isa());
  EXPECT_NE(kernel.find("gemm_f32"), std::string::npos);
  EXPECT_NE(kernel.find("allow no integer product"), std::string::npos);
}

TEST_F(RtnTest, WeightOnlyItIsTheFloatProductWithDequantizedWeights) {
  RtnOptions options;
  options.weight_bits = 3;
  options.activation_granularity = ActivationGranularity::none;
  const auto [y, kernel] = run(options, host_isa());
  Matrix dequantized(kOut, kIn);
  dequantize_symmetric(codes_of(options), dequantized.view());
  const std::array<MatrixView<const float>, 1> weights = {dequantized.view()};
  const auto site = float_site(weights);
  site->prepare(host_isa());
  Matrix expected(kRows, kOut);
  const std::array outputs = {SiteOutput{expected.view(), {}}};
  ThreadPool pool(1);
  site->matmul(rows(), outputs, pool);
  EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), expected.span().begin()));
  EXPECT_EQ(Rtn(options).traits().activation_bits, 32);
}

}  // namespace
}  // namespace tender::quant
