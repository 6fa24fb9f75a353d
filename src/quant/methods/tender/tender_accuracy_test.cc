// How far results may be from the float ones, and how the error falls with the groups.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

#include "quant/methods/rtn/rtn.h"
#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

TEST(TenderCheck7, OnItsCalibrationRowsAValueMovesByHalfTheScaleOfItsGroupAtMost) {
  const Matrix x = outlier_rows(64, 80, 5);
  for (const int bits : {4, 8})
    for (const int groups : {1, 3, 8, 14}) {
      const Quantized q(options(bits, TenderMode::static_scales, groups, 0), x,
                        random_weights(4, 80), true);
      const ChunkRounding& chunk = q.rounding.chunks[0];
      for (std::size_t m = 0; m < x.rows(); ++m) {
        const auto rounded = q.rounded(x.row(m));
        for (std::size_t k = 0; k < 80; ++k) {
          const double scale = static_cast<double>(chunk.unit) * std::exp2(chunk.shift[k]);
          // four roundings of float32 on the way to a code of at most 127 move it by 4 * 127 ulp /
          // 2
          const double slack = scale * 4 * 127 * 0x1p-24;
          EXPECT_LE(std::abs(static_cast<double>(x(m, k)) - rounded[k]), scale / 2 + slack);
        }
      }
    }
}

TEST(TenderCheck7, AGroupScaleIsBelowTwiceTheChannelsOwnOutsideTheCatchAll) {
  const Matrix x = outlier_rows(64, 80, 6);
  const Quantized q(options(8, TenderMode::static_scales, 6, 0), x, random_weights(4, 80), true);
  for (std::size_t k = 0; k < 80; ++k) {
    float cmax = 0;
    for (std::size_t m = 0; m < 64; ++m) cmax = std::max(cmax, std::abs(x(m, k) - q.input.bias[k]));
    const float threshold = q.input.tmax[0] * static_cast<float>(std::exp2(q.input.group[k] - 5));
    EXPECT_LE(cmax, threshold);
    if (q.input.group[k] > 0) {
      EXPECT_GT(2 * cmax, threshold);
    }
  }
}

TEST(TenderCheck7, MoreGroupsLeaveTheCodesOutsideTheOldCatchAllAsTheyWere) {
  const Matrix x = outlier_rows(64, 80, 7);
  const Matrix w = random_weights(4, 80);
  for (int groups = 2; groups < 12; ++groups) {
    const Quantized few(options(8, TenderMode::static_scales, groups, 0), x, w, true);
    const Quantized more(options(8, TenderMode::static_scales, groups + 1, 0), x, w, true);
    for (std::size_t m = 0; m < 64; ++m) {
      const auto a = few.codes_of(x.row(m)), b = more.codes_of(x.row(m));
      for (std::size_t k = 0; k < 80; ++k)
        if (few.input.group[k] > 0) {
          ASSERT_EQ(a[k], b[k]) << groups << " groups, channel " << k;
        }
    }
  }
}

double squared_error(const Quantized& q, const Matrix& x) {
  double error = 0;
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const auto rounded = q.rounded(x.row(m), static_cast<std::int32_t>(m));
    for (std::size_t k = 0; k < x.cols(); ++k)
      error += std::pow(static_cast<double>(x(m, k)) - rounded[k], 2);
  }
  return error;
}

/// Every channel with its own scale, on the same centred rows.
double per_channel_error(const Quantized& q, const Matrix& x, int high) {
  double error = 0;
  for (std::size_t k = 0; k < x.cols(); ++k) {
    double cmax = 0;
    for (std::size_t m = 0; m < x.rows(); ++m)
      cmax = std::max(
          cmax, std::abs(static_cast<double>(x(m, k)) - static_cast<double>(q.input.bias[k])));
    for (std::size_t m = 0; m < x.rows(); ++m) {
      const double centred = static_cast<double>(x(m, k)) - static_cast<double>(q.input.bias[k]);
      error += std::pow(centred - std::nearbyint(centred / (cmax / high)) * (cmax / high), 2);
    }
  }
  return error;
}

TEST(TenderCheck7, OnOutlierChannelsTheErrorLiesBetweenPerTensorAndPerChannel) {
  const Matrix x = outlier_rows(128, 96, 8);
  const Matrix w = random_weights(4, 96);
  for (const int bits : {4, 8}) {
    const Quantized tensor(options(bits, TenderMode::static_scales, 1, 0), x, w, true);
    const Quantized tender(options(bits, TenderMode::static_scales, 8, 0), x, w, true);
    EXPECT_GT(squared_error(tensor, x), squared_error(tender, x));
    EXPECT_GT(squared_error(tender, x), per_channel_error(tender, x, (1 << (bits - 1)) - 1));
  }
}

/// Expects that rows less the bias of one chunk, times the weights as they were, plus what is added
/// back are the product of the rows.
void expect_compensated(const TenderInput& input, const TenderCodes& codes, const Matrix& x,
                        const Matrix& w) {
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double compensated = codes.compensation[n], exact = 0, offset = 0;
      for (std::size_t k = 0; k < x.cols(); ++k) {
        const double bias = input.bias[k], value = x(m, k), weight = w(n, k);
        compensated += (value - bias) * weight;
        exact += value * weight;
        offset += std::abs(bias * weight);
      }
      EXPECT_NEAR(compensated, exact, 0x1p-24 * offset + 1e-12);  // the compensation is a float32
    }
}

TEST(TenderCheck8, TheBiasCentresEveryChannelAndIsAddedBackThroughTheWeights) {
  const Matrix x = outlier_rows(40, 60, 9);
  const Matrix w = random_weights(12, 60);
  const Quantized q(options(8, TenderMode::static_scales, 8, 0), x, w, true);
  for (std::size_t k = 0; k < 60; ++k) {
    float least = std::numeric_limits<float>::max(), largest = std::numeric_limits<float>::lowest();
    for (std::size_t m = 0; m < 40; ++m) {
      least = std::min(least, x(m, k) - q.input.bias[k]);
      largest = std::max(largest, x(m, k) - q.input.bias[k]);
    }
    // one rounding each of the bias and of the differences
    EXPECT_NEAR(largest, -least, 4 * 0x1p-24F * (largest + std::abs(q.input.bias[k])));
  }
  expect_compensated(q.input, q.codes, x, w);
}

TEST(TenderCheck8, ABiasOfSeveralSequencesIsAddedBackForEachOfThem) {
  const Matrix w = random_weights(12, 60);
  const std::array<MatrixView<const float>, 1> layers = {w.view()};
  const Matrix sequences[] = {outlier_rows(40, 60, 17), outlier_rows(40, 60, 18)};
  SiteShape shape;
  shape.in = 60;
  shape.outs = {12};
  shape.centre = true;
  for (const TenderNumerics numerics : {TenderNumerics::clean, TenderNumerics::compat}) {
    TenderOptions o = options(8, TenderMode::static_scales, 8, 0);
    o.numerics = numerics;
    const Tender method(o);
    auto both = method.calibrate(shape);
    std::vector<std::vector<float>> own;
    for (const Matrix& x : sequences) {
      auto one = method.calibrate(shape);
      one.observe({x.view(), positions(40)});
      both.observe({x.view(), positions(40)});
      own.push_back(method.input(one, layers).bias);
    }
    const TenderInput input = method.input(both, layers);
    for (std::size_t k = 0; numerics == TenderNumerics::compat && k < 60; ++k)  // all float16
      EXPECT_NEAR(input.bias[k], (own[0][k] + own[1][k]) / 2,
                  0x1p-10F * (std::abs(own[0][k]) + std::abs(own[1][k])));
    ThreadPool pool(1);
    const TenderCodes codes = method.quantize(w.view(), input, nullptr, pool);
    for (const Matrix& x : sequences) expect_compensated(input, codes, x, w);
  }
}

TEST(TenderCheck9, CalibratedOnTheOneSequenceStaticCodesAreTheDynamicOnes) {
  constexpr std::size_t kChunk = 8;
  const Matrix x = outlier_rows(24, 48, 10);
  const Quantized q(options(8, TenderMode::static_scales, 5, kChunk), x, random_weights(4, 48),
                    true);
  for (std::size_t first = 0; first < 24; first += kChunk) {
    std::vector<float> bias(48), cmax(48, 0);
    for (std::size_t k = 0; k < 48; ++k) {
      float least = x(first, k), largest = x(first, k);
      for (std::size_t m = first; m < first + kChunk; ++m) {
        least = std::min(least, x(m, k));
        largest = std::max(largest, x(m, k));
      }
      bias[k] = 0.5F * largest + 0.5F * least;
      for (std::size_t m = first; m < first + kChunk; ++m)
        cmax[k] = std::max(cmax[k], std::abs(x(m, k) - bias[k]));
    }
    const float tmax = *std::max_element(cmax.begin(), cmax.end());
    for (std::size_t m = first; m < first + kChunk; ++m) {
      const auto codes = q.codes_of(x.row(m), static_cast<std::int32_t>(m));
      for (std::size_t k = 0; k < 48; ++k) {
        int halvings = 0;
        while (halvings < 4 && cmax[k] <= tmax * static_cast<float>(std::exp2(-halvings - 1)))
          ++halvings;
        const float multiplier = 127 / tmax * static_cast<float>(std::exp2(halvings));
        ASSERT_EQ(codes[k], std::lrint((x(m, k) - bias[k]) * multiplier)) << m << " " << k;
      }
    }
  }
}

/// Mean squared error of the channels, each over its own variance: what small channels suffer
/// counts too.
double relative_error(const MatrixOf<double>& rounded, const Matrix& x) {
  std::vector<double> error(x.cols(), 0), sum(x.cols(), 0), squares(x.cols(), 0);
  for (std::size_t m = 0; m < x.rows(); ++m) {
    for (std::size_t k = 0; k < x.cols(); ++k) {
      const double value = x(m, k);
      error[k] += (value - rounded(m, k)) * (value - rounded(m, k));
      sum[k] += value;
      squares[k] += value * value;
    }
  }
  double total = 0;
  for (std::size_t k = 0; k < x.cols(); ++k)
    total += error[k] / (squares[k] - sum[k] * sum[k] / static_cast<double>(x.rows()));
  return total / static_cast<double>(x.cols());
}

double relative_error(const Quantized& q, const Matrix& x) {
  MatrixOf<double> rounded(x.rows(), x.cols());
  for (std::size_t m = 0; m < x.rows(); ++m)
    std::ranges::copy(q.rounded(x.row(m)), rounded.row(m).begin());
  return relative_error(rounded, x);
}

/// Of plain rounding with a scale for all values, for each row or for each column.
double relative_error(ActivationGranularity granularity, int bits, const Matrix& x,
                      const Matrix& w) {
  const std::array<MatrixView<const float>, 1> layers = {w.view()};
  const Rtn method({.activation_bits = bits, .activation_granularity = granularity});
  SiteShape shape;
  shape.in = x.cols();
  shape.outs = {w.rows()};
  auto seen = method.calibrate(shape);
  const auto at = positions(x.rows());
  seen.observe({x.view(), at});
  Matrix rounded(x.rows(), x.cols());
  Rtn::rounded(method.input(seen, layers), {x.view(), at}, rounded.view());
  MatrixOf<double> as_double(x.rows(), x.cols());
  std::ranges::copy(rounded.span(), as_double.span().begin());
  return relative_error(as_double, x);
}

TEST(TenderCheck14, TheErrorFallsWithTheGroupsThenLevelsOffAndEightBitsNeedFewer) {
  const Matrix x = outlier_rows(256, 128, 15);
  const Matrix w = random_weights(2, 128);
  std::array<int, 2> needed{};
  for (const int bits : {4, 8}) {
    std::vector<double> error;
    for (int groups = 1; groups <= 14; ++groups)
      error.push_back(relative_error(
          Quantized(options(bits, TenderMode::static_scales, groups, 0), x, w, true), x));
    EXPECT_GT(error[0], 10 * error[9]) << "groups matter";
    EXPECT_LT(error[9], 1.01 * error[13]) << "and then no more";
    int& count = needed[bits == 8 ? 1 : 0];
    while (error[static_cast<std::size_t>(count)] > 0.01) ++count;  // the first below 1 %
  }
  EXPECT_LT(needed[1], needed[0]);
}

TEST(TenderCheck14, AScalePerRowHardlyBeatsOnePerTensorAndGroupsDo) {
  const Matrix x = outlier_rows(256, 128, 16, false);
  const Matrix w = random_weights(2, 128);
  const double tensor =
      relative_error(Quantized(options(8, TenderMode::static_scales, 1, 0), x, w, false), x);
  const double row =
      relative_error(Quantized(options(8, TenderMode::row_scaled, 1, 0), x, w, false), x);
  const double groups =
      relative_error(Quantized(options(8, TenderMode::static_scales, 8, 0), x, w, false), x);
  EXPECT_GT(row, tensor / 10);
  EXPECT_LT(groups, tensor / 100);
}

TEST(TenderCheck14, AScalePerRowHardlyBeatsOnePerTensorAndOnePerColumnDoes) {
  const Matrix x = outlier_rows(256, 128, 16, false);
  const Matrix w = random_weights(2, 128);
  for (const int bits : {4, 8}) {
    const double tensor = relative_error(ActivationGranularity::tensor, bits, x, w);
    const double row = relative_error(ActivationGranularity::token, bits, x, w);
    const double column = relative_error(ActivationGranularity::channel, bits, x, w);
    EXPECT_GT(row, tensor / 10) << bits << " bits";
    // The largest of 256 normal values is about 3 sigma: a step of 3 / 7 sigma at 4 bits leaves
    // (3 / 7)^2 / 12 = 1.5 % of a channel, where one step for all leaves nothing of small ones.
    EXPECT_LT(column, tensor / 50) << bits << " bits";
  }
}

}  // namespace
}  // namespace tender::quant
