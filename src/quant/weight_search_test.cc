#include "quant/weight_search.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"

namespace tender::quant {
namespace {

Matrix random_weights(std::size_t out, std::size_t in) {
  Rng rng(5, "weight search");
  Matrix w(out, in);
  for (float& value : w.span()) value = 0.02F * rng.normal();
  return w;
}

/// H of channels that share causes, with reach that differs.
MatrixOf<double> moment_of(std::size_t in, std::size_t rows = 300) {
  Rng rng(6, "weight search");
  MatrixOf<double> h(in, in);
  std::fill(h.span().begin(), h.span().end(), 0.0);
  std::vector<double> x(in);
  for (std::size_t m = 0; m < rows; ++m) {
    const std::array<double, 2> causes = {static_cast<double>(rng.normal()),
                                          static_cast<double>(rng.normal())};
    for (std::size_t k = 0; k < in; ++k)
      x[k] = (1.0 + static_cast<double>(k % 5)) *
             (causes[k % 2] + 0.4 * static_cast<double>(rng.normal()));
    for (std::size_t a = 0; a < in; ++a)
      for (std::size_t b = 0; b < in; ++b) h(a, b) += x[a] * x[b];
  }
  return h;
}

/// sum over outputs of (w - q) H (w - q)ᵀ.
double cost(const SymmetricCodes& codes, const Matrix& w, const MatrixOf<double>& h) {
  Matrix q(w.rows(), w.cols());
  dequantize_symmetric(codes, q.view());
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t a = 0; a < w.cols(); ++a)
      for (std::size_t b = 0; b < w.cols(); ++b)
        sum += static_cast<double>(w(n, a) - q(n, a)) * h(a, b) *
               static_cast<double>(w(n, b) - q(n, b));
  return sum;
}

const std::array<WeightFormat, 4> kFormats = {WeightFormat{4, WeightGranularity::channel, 0},
                                              WeightFormat{4, WeightGranularity::group, 32},
                                              WeightFormat{4, WeightGranularity::multiplier, 32},
                                              WeightFormat{8, WeightGranularity::tensor, 0}};

class WeightSearchTest : public ::testing::Test {
 protected:
  SymmetricCodes search(const WeightFormat& format, WeightSearch search, WeightScale scale,
                        std::optional<SecondMoment> moment, std::size_t threads = 1,
                        SweepOrder order = SweepOrder::largest_first) {
    ThreadPool pool(threads);
    WeightSearchOptions options;
    options.sweep_order = order;
    options.weight_search = search;
    options.weight_scale = scale;
    return search_weights(w.view(), format, options, moment ? &*moment : nullptr, pool);
  }
  Matrix w = random_weights(19, 100);
  MatrixOf<double> h = moment_of(100);
};

TEST_F(WeightSearchTest, FromMaximaToTheNearestItIsPlainRounding) {
  for (const WeightFormat& format : kFormats)
    if (format.granularity != WeightGranularity::multiplier) {
      EXPECT_EQ(search(format, WeightSearch::rtn, WeightScale::max, {}),
                quantize_symmetric(w.view(), format.bits, format.granularity, format.group));
    }
}

// Numbers in the names are those of the checks of tender.md section 9.
TEST_F(WeightSearchTest, TenderCheck18TheIdentityAsMomentGivesPlainRoundingInEveryFormat) {
  MatrixOf<double> identity(100, 100);
  for (std::size_t a = 0; a < 100; ++a)
    for (std::size_t b = 0; b < 100; ++b) identity(a, b) = a == b ? 1 : 0;
  for (const WeightFormat& format : kFormats)
    for (const WeightScale scale : {WeightScale::max, WeightScale::mse})
      for (const SweepOrder order : {SweepOrder::largest_first, SweepOrder::natural})
        EXPECT_EQ(
            search(format, WeightSearch::gptq, scale, SecondMoment(identity.copy()), 1, order),
            search(format, WeightSearch::rtn, scale, {}));
}

TEST_F(WeightSearchTest, TenderCheck18OnCorrelatedRowsGptqCostsLessThanRtnInEveryFormat) {
  for (const WeightFormat& format : kFormats)
    for (const WeightScale scale : {WeightScale::max, WeightScale::mse})
      for (const SweepOrder order : {SweepOrder::largest_first, SweepOrder::natural})
        EXPECT_LT(
            cost(search(format, WeightSearch::gptq, scale, SecondMoment(h.copy()), 1, order), w, h),
            0.6 * cost(search(format, WeightSearch::rtn, scale, SecondMoment(h.copy())), w, h));
}

TEST_F(WeightSearchTest, ClippingCostsNoMoreWhereEveryChannelCountsAlike) {
  MatrixOf<double> identity(100, 100);
  for (std::size_t a = 0; a < 100; ++a)
    for (std::size_t b = 0; b < 100; ++b) identity(a, b) = a == b ? 1 : 0;
  for (const WeightFormat& format : kFormats)  // float32 sums of 100 squares choose: 1e-5 is ample
    EXPECT_LE(
        cost(search(format, WeightSearch::rtn, WeightScale::mse, {}), w, identity),
        (1 + 1e-5) * cost(search(format, WeightSearch::rtn, WeightScale::max, {}), w, identity));
}

TEST_F(WeightSearchTest, ClippingWeighsChannelsByTheirMoment) {
  // The largest weight stands where the rows do not: clipping it makes the others exact.
  Matrix one(1, 8);
  for (std::size_t k = 0; k < 8; ++k) one(0, k) = 0.01F * static_cast<float>(k);
  one(0, 3) = 0.12F;
  MatrixOf<double> diagonal(8, 8);
  for (std::size_t a = 0; a < 8; ++a)
    for (std::size_t b = 0; b < 8; ++b) diagonal(a, b) = a == b ? (a == 3 ? 1e-6 : 1) : 0;
  ThreadPool pool(1);
  WeightSearchOptions options;
  options.weight_scale = WeightScale::mse;
  const SecondMoment moment(std::move(diagonal));
  const auto codes = search_weights(one.view(), kFormats[0], options, &moment, pool);
  // Clips go down to half of 0.12 / 7; of the steps there 0.0103 … 0.0086 the nearest to 0.01 wins.
  EXPECT_NEAR(codes.scales[0], 0.01F, 0.0004F);
}

TEST_F(WeightSearchTest, ThreadsChangeNoBit) {
  for (const WeightFormat& format : kFormats)
    for (const WeightSearch how : {WeightSearch::rtn, WeightSearch::gptq})
      for (const SweepOrder order : {SweepOrder::largest_first, SweepOrder::natural})
        EXPECT_EQ(search(format, how, WeightScale::mse, SecondMoment(h.copy()), 1, order),
                  search(format, how, WeightScale::mse, SecondMoment(h.copy()), 3, order));
}

TEST_F(WeightSearchTest, InNaturalOrderGroupsAreMeasuredAsTheErrorsBeforeThemHaveMovedThem) {
  for (const WeightGranularity kind : {WeightGranularity::group, WeightGranularity::multiplier}) {
    const WeightFormat format{4, kind, 32};
    const auto before = search(format, WeightSearch::rtn, WeightScale::max, SecondMoment(h.copy()));
    const auto after = search(format, WeightSearch::gptq, WeightScale::max, SecondMoment(h.copy()),
                              1, SweepOrder::natural);
    const auto steps = [](const SymmetricCodes& codes, std::size_t k) {
      std::vector<float> found;
      for (std::size_t n = 0; n < 19; ++n)
        found.push_back(static_cast<float>(codes.multiplier(n, k)) * codes.scale(n, k));
      return found;
    };
    EXPECT_EQ(steps(after, 0), steps(before, 0));    // nothing came before the first group
    EXPECT_NE(steps(after, 99), steps(before, 99));  // of 4 inputs, behind 96 others
  }
}

TEST_F(WeightSearchTest, ZerosAndTinyWeightsHaveScaleOneAndCodesZero) {
  std::fill(w.span().begin(), w.span().end(), 1e-40F);
  for (const WeightFormat& format : kFormats)
    for (const WeightSearch how : {WeightSearch::rtn, WeightSearch::gptq}) {
      const auto codes = search(format, how, WeightScale::mse, SecondMoment(h.copy()));
      for (const float scale : codes.scales) EXPECT_EQ(scale, 1.0F);
      for (const auto code : codes.codes) EXPECT_EQ(code, 0);
      for (const auto multiplier : codes.multipliers) EXPECT_EQ(multiplier, 1);
    }
}

TEST_F(WeightSearchTest, TheLargestAndTheSmallestFloatsGiveFiniteScales) {
  for (const float reach : {std::numeric_limits<float>::max(), 0x1p-99F}) {
    Matrix far = random_weights(7, 100);
    for (float& value : far.span()) value = std::clamp(value * 10, -1.0F, 1.0F) * reach;
    ThreadPool pool(1);
    for (const WeightFormat& format : kFormats)
      for (const WeightScale scale : {WeightScale::max, WeightScale::mse}) {
        WeightSearchOptions options;
        options.weight_scale = scale;
        const SecondMoment moment(h.copy());
        const auto codes = search_weights(far.view(), format, options, &moment, pool);
        for (const float s : codes.scales) EXPECT_TRUE(std::isfinite(s) && s > 0) << reach;
      }
  }
}

TEST_F(WeightSearchTest, GptqWithoutRowsIsRefused) {
  try {
    search(kFormats[0], WeightSearch::gptq, WeightScale::max, {});
    FAIL() << "codes were compensated for nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "Q_CALIBRATION");
  }
}

}  // namespace
}  // namespace tender::quant
