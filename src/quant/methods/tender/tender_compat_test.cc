// Numerics of the released code, against what oracle/make_tender_compat_golden.py computed apart
// from this code. Numbers in the names are those of the checks of tender.md section 9.

#include "quant/methods/tender/tender_compat.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/half.h"
#include "quant/methods/tender/tender_test_support.h"
#include "tests/support/test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

Matrix matrix_of(const Json& rows) {
  Matrix m(rows.size(), rows[0].size());
  for (std::size_t i = 0; i < m.rows(); ++i)
    for (std::size_t k = 0; k < m.cols(); ++k) m(i, k) = rows[i][k].get<float>();
  return m;
}

const Json& golden() {
  static const Json cases = Json::parse(
      testing::read_text(testing::source_path("src/quant/methods/tender/golden/compat.json")));
  return cases;
}

struct Golden {
  explicit Golden(const Json& each)
      : method(options_of(each)), w(matrix_of(each["weights"])), x(matrix_of(each["rows"])) {
    SiteShape shape;
    shape.in = w.cols();
    shape.outs = {w.rows()};
    shape.centre = each["centred"].get<bool>();
    shape.nonnegative = each["unsigned"].get<bool>();
    auto seen = method.calibrate(shape);
    for (const Json& sample : each["samples"]) {
      const Matrix rows = matrix_of(sample);
      const auto at = positions(rows.rows());
      seen.observe({rows.view(), at});
    }
    const std::array<MatrixView<const float>, 1> layers = {w.view()};
    input = method.input(seen, layers);
    ThreadPool pool(1);
    codes = method.quantize(w.view(), input, nullptr, pool);
  }
  static TenderOptions options_of(const Json& each) {
    const bool dynamic = each["mode"] == "dynamic";
    TenderOptions o =
        options(each["bits"].get<int>(), dynamic ? TenderMode::dynamic : TenderMode::static_scales,
                each["groups"].get<int>(), each["chunk_rows"].get<int>());
    o.numerics = TenderNumerics::compat;
    if (dynamic) o.bias = TenderBias::dynamic;
    return o;
  }

  Tender method;
  Matrix w;
  Matrix x;
  TenderInput input;
  TenderCodes codes;
};

TEST(TenderCompat, MetadataEqualThoseOfTheScriptToTheLastBit) {
  for (const Json& each : golden()) {
    SCOPED_TRACE(each["name"].get<std::string>());
    const Golden site(each);
    EXPECT_EQ(site.input.tmax, each["tmax"].get<std::vector<float>>());
    EXPECT_EQ(site.input.bias, each["bias"].get<std::vector<float>>());
    EXPECT_EQ(site.input.group, each["group"].get<std::vector<std::uint8_t>>());
  }
}

TEST(TenderCompat, RoundedRowsEqualThoseOfTheScriptToTheLastBit) {
  for (const Json& each : golden()) {
    SCOPED_TRACE(each["name"].get<std::string>());
    const Golden site(each);
    const auto at = positions(site.x.rows());
    ThreadPool pool(2);
    const CompatRounded rounded = compat_rounded(site.input, {site.x.view(), at}, pool);
    for (std::size_t m = 0; m < site.x.rows(); ++m)
      for (std::size_t k = 0; k < site.x.cols(); ++k)
        EXPECT_EQ(static_cast<double>(rounded.values(m, k)), each["values"][m][k].get<double>())
            << "row " << m << " channel " << k;
  }
}

TEST(TenderCompat, ResultsEqualThoseOfTheScriptAndOfEveryKernel) {
  for (const Json& each : golden()) {
    SCOPED_TRACE(each["name"].get<std::string>());
    const Golden site(each);
    const auto at = positions(site.x.rows());
    MatrixOf<double> y(site.x.rows(), site.w.rows());
    Tender::reference(site.input, Tender::pack(site.codes), {site.x.view(), at}, y.view());
    double largest = 0;
    for (std::size_t m = 0; m < y.rows(); ++m)
      for (std::size_t n = 0; n < y.cols(); ++n) {
        const double expected = each["results"][m][n].get<double>();
        largest = std::max(largest, std::abs(expected));
        // what is added back is rounded once to float32
        EXPECT_NEAR(y(m, n), expected, 0x1p-20 * (1 + std::abs(expected)));
      }
    for (const Isa isa : kMasks) {
      std::vector<TenderPacked> layers;
      layers.push_back(Tender::pack(site.codes));
      PackedSiteOf<Tender> fast(Quantized::copy_of(site.input), std::move(layers));
      fast.prepare(usable(isa));
      Matrix got(site.x.rows(), site.w.rows());
      const std::array outputs = {SiteOutput{got.view(), {}}};
      ThreadPool pool(2);
      fast.matmul({site.x.view(), at}, outputs, pool);
      for (std::size_t m = 0; m < y.rows(); ++m)
        for (std::size_t n = 0; n < y.cols(); ++n)
          EXPECT_NEAR(static_cast<double>(got(m, n)), y(m, n), 64 * 0x1p-24 * largest)
              << to_string(isa);
    }
  }
}

TEST(TenderCompat, DeepScalesAreFloat16AndNoLongerPowersOfTwoApart) {
  TenderInput input;
  input.activation_bits = 4;
  input.groups = 20;
  const std::vector<float> steps = compat_steps(input, 1.0F);
  EXPECT_EQ(steps[19], half_to_float(float_to_half(1.0F / 7)));
  EXPECT_EQ(steps[19], 2 * steps[18]);
  bool apart = true;
  double off = 0;
  for (std::size_t i = 0; i < 20; ++i) {
    apart = apart && (i == 0 || steps[i] == 2 * steps[i - 1]);
    const double exact = std::exp2(static_cast<double>(i) - 19) / 7;
    off = std::max(off, std::abs(static_cast<double>(steps[i]) / exact - 1));
  }
  EXPECT_FALSE(apart);
  EXPECT_GT(off, 0.05);  // tender.md 2.11: 9 % at TMax 1 and 20 groups
  EXPECT_LT(off, 0.15);
}

TEST(TenderCheck9, WithTheSameNumericsStaticEqualsDynamicOnTheOneSequenceThatIsEvaluated) {
  Matrix x = outlier_rows(22, 40, 41);  // the last chunk is filled up with zeros in both
  const Matrix w = random_weights(7, 40);
  TenderOptions fixed = options(4, TenderMode::static_scales, 8, 8);
  TenderOptions own = options(4, TenderMode::dynamic, 8, 8);
  fixed.numerics = own.numerics = TenderNumerics::compat;
  own.bias = TenderBias::dynamic;
  for (float& value : x.span()) value = half_to_float(float_to_half(std::round(value * 64) / 64));
  const Matrix y = Quantized(fixed, x, w, true).matmul(x, host_isa());
  const Matrix z = Quantized(own, x, w, true).matmul(x, host_isa());
  EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), z.span().begin()));
}

TEST(TenderCompat, ScalesMadeUnderOtherBiasesThanTheirMeanClipWhatCalibrationSaw) {
  // Two sequences far apart in a channel: each is narrow around its own mid-range.
  const Matrix low = matrix(2, 2, {-10, 1, -8, -1}), high = matrix(2, 2, {8, 1, 10, -1});
  const Matrix w = matrix(1, 2, {1, 7});
  const auto tmax_of = [&](TenderNumerics numerics) {
    TenderOptions o = options(8, TenderMode::static_scales, 4, 2);
    o.numerics = numerics;
    SiteShape shape;
    shape.in = 2;
    shape.outs = {1};
    shape.centre = true;
    const Tender method(o);
    auto seen = method.calibrate(shape);
    seen.observe({low.view(), positions(2)});
    seen.observe({high.view(), positions(2)});
    const std::array<MatrixView<const float>, 1> layers = {w.view()};
    const TenderInput input = method.input(seen, layers);
    EXPECT_EQ(input.bias, (std::vector<float>{0, 0}));
    return input.tmax.at(0);
  };
  EXPECT_EQ(tmax_of(TenderNumerics::clean), 10);
  EXPECT_EQ(tmax_of(TenderNumerics::compat), 1);
}

TEST(TenderCounts, CompatNumericsCountWhatTheyClipAndRowsPastTheCalibratedPositions) {
  const Matrix seen = matrix(2, 2, {127, 1, -127, -1});
  TenderOptions o = options(8, TenderMode::static_scales, 1, 2);
  o.numerics = TenderNumerics::compat;
  const Quantized q(o, seen, matrix(1, 2, {1, 7}), false);
  PackedSiteOf<Tender> site(Quantized::copy_of(q.input), q.packed());
  site.prepare(host_isa());
  // The step is 1, the clamp to [-128, 127].
  const Matrix x = matrix(3, 2, {127.25F, 127.75F, -128.25F, 300, 0, -129});
  ThreadPool pool(2);
  Matrix y(3, 1);
  const std::array outputs = {SiteOutput{y.view(), {}}};
  site.matmul({x.view(), positions(3)}, outputs, pool);
  EXPECT_EQ(site.counts(), (SiteCounts{3, 6, 3, 1}));
}

TEST(TenderCompat, ValuesThatFloat16DoesNotHoldAreRefusedAndOtherModesHaveNoSuchNumerics) {
  TenderOptions o = options(8, TenderMode::static_scales, 4, 2);
  o.numerics = TenderNumerics::compat;
  try {
    Quantized(o, matrix(2, 2, {1, 70000, 2, 3}), matrix(1, 2, {1, 7}), true);
    FAIL() << "70000 is no float16";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "Q_NONFINITE");
  }
  for (const char* mode : {"row-scaled", "one-row", "auto"}) try {
      read_options<TenderOptions>("tender", {{"mode", mode}, {"numerics", "compat"}});
      FAIL() << mode;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "OPTION_VALUE");
    }
}

}  // namespace
}  // namespace tender::quant
