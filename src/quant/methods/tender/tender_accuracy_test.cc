// How far results may be from the float ones, and how the error falls with the groups.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

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
  for (std::size_t m = 0; m < 40; ++m)
    for (std::size_t n = 0; n < 12; ++n) {
      double compensated = q.codes.compensation[n], exact = 0, offset = 0;
      for (std::size_t k = 0; k < 60; ++k) {
        const double bias = q.input.bias[k], value = x(m, k), weight = w(n, k);
        compensated += (value - bias) * weight;
        exact += value * weight;
        offset += std::abs(bias * weight);
      }
      EXPECT_NEAR(compensated, exact, 0x1p-24 * offset + 1e-12);  // the compensation is a float32
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
double relative_error(const Quantized& q, const Matrix& x) {
  std::vector<double> error(x.cols(), 0), sum(x.cols(), 0), squares(x.cols(), 0);
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const auto rounded = q.rounded(x.row(m));
    for (std::size_t k = 0; k < x.cols(); ++k) {
      const double value = x(m, k);
      error[k] += (value - rounded[k]) * (value - rounded[k]);
      sum[k] += value;
      squares[k] += value * value;
    }
  }
  double total = 0;
  for (std::size_t k = 0; k < x.cols(); ++k)
    total += error[k] / (squares[k] - sum[k] * sum[k] / static_cast<double>(x.rows()));
  return total / static_cast<double>(x.cols());
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

}  // namespace
}  // namespace tender::quant
