// Rows and weights in a Hadamard basis (tender.md 8.3).

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

constexpr std::size_t kIn = 96;  // 12 * 8

TenderOptions rotating(TenderMode mode, int bits = 8, int groups = 8) {
  TenderOptions o = options(bits, mode, groups, 0);
  o.rotation = TenderRotation::hadamard;
  return o;
}

double output_error(const Quantized& q, const Matrix& x) {
  const Matrix y = q.matmul(x, host_isa());
  double sum = 0;
  for (std::size_t m = 0; m < y.rows(); ++m)
    for (std::size_t n = 0; n < y.cols(); ++n) {
      double exact = 0;
      for (std::size_t k = 0; k < x.cols(); ++k)
        exact += static_cast<double>(x(m, k)) * static_cast<double>(q.w(n, k));
      sum += (static_cast<double>(y(m, n)) - exact) * (static_cast<double>(y(m, n)) - exact);
    }
  return sum;
}

TEST(TenderRotation, SpreadsOutliersSoThatOneStepPerRowServesAllChannels) {
  const Matrix x = outlier_rows(64, kIn, 3, false), w = random_weights(40, kIn);
  for (const int bits : {4, 8}) {
    TenderOptions o = rotating(TenderMode::row_scaled, bits, 1);
    o.weight_bits = 8;  // what is compared is the rounding of rows
    const Quantized rotated(o, x, w, false);
    o.rotation = TenderRotation::none;
    const Quantized plain(o, x, w, false);
    EXPECT_LT(output_error(rotated, x), 0.5 * output_error(plain, x)) << bits << " bits";
  }
}

TEST(TenderRotation, EveryModeAndCpuGivesTheProductOfItsRoundedRows) {
  const Matrix x = outlier_rows(20, kIn, 4), w = random_weights(23, kIn);
  for (const TenderMode mode :
       {TenderMode::static_scales, TenderMode::row_scaled, TenderMode::one_row}) {
    const Quantized q(rotating(mode), x, w, true);
    const Matrix first = q.matmul(x, Isa::scalar);
    MatrixOf<double> exact(20, 23);
    Tender::reference(q.input, q.packed()[0], {x.view(), positions(20)}, exact.view());
    float peak = 0;
    for (const float value : first.span()) peak = std::max(peak, std::abs(value));
    for (const Isa mask : kMasks) {
      const Matrix y = q.matmul(x, mask);
      EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), first.span().begin()));
    }
    for (std::size_t m = 0; m < 20; ++m)
      for (std::size_t n = 0; n < 23; ++n)  // four roundings of what may cancel with what is added
        EXPECT_NEAR(first(m, n), exact(m, n), 8 * 0x1p-24 * static_cast<double>(peak));
  }
}

TEST(TenderRotation, DequantizedWeightsStandInTheBasisOfTheModel) {
  const Matrix x = outlier_rows(20, kIn, 5), w = random_weights(9, kIn);
  const Quantized q(rotating(TenderMode::row_scaled), x, w, true);
  Matrix back(9, kIn);
  Tender::dequantize(q.input, q.packed()[0], back.view());
  for (std::size_t n = 0; n < 9; ++n) {
    double error = 0;
    for (std::size_t k = 0; k < kIn; ++k) {
      const double off = static_cast<double>(back(n, k)) - static_cast<double>(w(n, k));
      error += off * off;
    }
    // A rotation keeps lengths: kIn codes are off by half a step each at most, and float32 by
    // little.
    const double step = static_cast<double>(q.codes.weights.scales[n]);
    EXPECT_LE(error, 1.001 * kIn * step * step / 4);
    EXPECT_GT(error, 0);
  }
}

TEST(TenderRotation, RowsThatWereNonnegativeAreSignedAfterIt) {
  Matrix x = outlier_rows(20, kIn, 6);
  for (float& value : x.span()) value = std::max(value, 0.0F);
  const Quantized q(rotating(TenderMode::row_scaled), x, random_weights(9, kIn), false, true);
  EXPECT_FALSE(q.input.is_unsigned);
  EXPECT_LT(q.rounding.low, 0);
}

TEST(TenderRotation, ModeAutoChoosesByTheRotatedRows) {
  // A few loud elements wherever: too much for one step of the row, unless they are shared out.
  Rng rng(46, "loud");
  Matrix x(40, kIn);
  for (float& value : x.span()) value = rng.normal() * (rng.below(100) == 0 ? 30.0F : 1.0F);
  const Matrix w = random_weights(4, kIn);
  TenderOptions o = rotating(TenderMode::automatic, 8, 1);
  o.error_share = 2e-4;
  EXPECT_EQ(Quantized(o, x, w, false).input.mode, TenderMode::row_scaled);
  o.rotation = TenderRotation::none;
  EXPECT_EQ(Quantized(o, x, w, false).input.mode, TenderMode::one_row);
}

TEST(TenderRotation, ACalibrationOfOtherRowsIsRefused) {
  SiteShape shape;
  shape.in = kIn;
  shape.outs = {3};
  const Tender with(rotating(TenderMode::row_scaled));
  const Tender without(options(8, TenderMode::row_scaled, 8, 0));
  const Matrix x = outlier_rows(5, kIn, 8);
  for (const bool rotated : {false, true}) {
    auto seen = (rotated ? with : without).calibrate(shape);
    seen.observe({x.view(), positions(5)});
    MemoryParts kept;
    seen.save(kept);
    EXPECT_NO_THROW((rotated ? with : without).calibrate(shape).load(kept));
    EXPECT_THROW((rotated ? without : with).calibrate(shape).load(kept), Error);
  }
}

TEST(TenderRotation, IsKeptWithTheSiteAndRefusedWhereItIsNoFlag) {
  const Matrix x = outlier_rows(20, kIn, 7);
  const Quantized q(rotating(TenderMode::row_scaled), x, random_weights(9, kIn), true);
  MemoryParts parts;
  save_tender_input(q.input, parts);
  EXPECT_TRUE(load_tender_input(parts).rotated);
  for (auto& item : parts.items)
    if (item.name == "tender_meta") {
      const std::int32_t two = 2;
      std::memcpy(item.bytes.data() + 8 * sizeof two, &two, sizeof two);
    }
  try {
    load_tender_input(parts);
    FAIL() << "a flag of 2 was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "QC_RANGE");
  }
}

}  // namespace
}  // namespace tender::quant
