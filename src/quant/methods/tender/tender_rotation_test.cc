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

/// A few loud elements wherever: too much for one step of the row, unless they are shared out.
Matrix loud_rows() {
  Rng rng(46, "loud");
  Matrix x(40, kIn);
  for (float& value : x.span()) value = rng.normal() * (rng.below(100) == 0 ? 30.0F : 1.0F);
  return x;
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
  const Matrix x = loud_rows();
  const Matrix w = random_weights(4, kIn);
  TenderOptions o = rotating(TenderMode::automatic, 8, 1);
  o.error_share = 2e-4;
  EXPECT_EQ(Quantized(o, x, w, false).input.mode, TenderMode::row_scaled);
  o.rotation = TenderRotation::none;
  EXPECT_EQ(Quantized(o, x, w, false).input.mode, TenderMode::one_row);
}

/// A few channels a thousand times as loud: in a group of their own, or shared out over all.
Matrix loud_channels() {
  Rng rng(47, "channels");
  Matrix x(40, kIn);
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < kIn; ++k) x(m, k) = rng.normal() * (k % 24 == 3 ? 1000.0F : 1.0F);
  return x;
}

TenderOptions choosing(TenderMode mode, int groups = 14) {
  TenderOptions o = rotating(mode, 4, groups);
  o.weight_bits = 8;
  o.rotation = TenderRotation::automatic;
  return o;
}

TEST(TenderRotation, AutoTakesTheBasisOfTheSmallerError) {
  // Weights that are small where rows are loud, as behind a norm with outlier gains.
  Matrix w = random_weights(4, kIn);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 3; k < kIn; k += 24) w(n, k) /= 1000;
  const TenderOptions o = choosing(TenderMode::row_scaled);
  for (const bool channels : {false, true}) {
    const Matrix x = channels ? loud_channels() : loud_rows();
    const Quantized chosen(o, x, w, false);
    TenderOptions named = o;
    named.rotation = TenderRotation::hadamard;
    const Quantized rotated(named, x, w, false);
    named.rotation = TenderRotation::none;
    const Quantized plain(named, x, w, false);
    EXPECT_EQ(chosen.input.rotated, !channels);
    EXPECT_EQ(chosen.input.rotated, output_error(rotated, x) < output_error(plain, x));
    const Quantized& same = channels ? plain : rotated;
    EXPECT_EQ(chosen.codes, same.codes);
    EXPECT_EQ(chosen.input.group, same.input.group);
    EXPECT_EQ(chosen.input.tmax, same.input.tmax);
  }
}

TEST(TenderRotation, AutoCountsTheErrorOfTheWeightsAsWell) {
  // One loud weight in each output: its scale is coarse for the others, unless it is shared out.
  Rng rng(48, "even");
  Matrix x(40, kIn);
  for (float& value : x.span()) value = rng.normal() < 0 ? -1.0F : 1.0F;  // rounded without error
  Matrix w = random_weights(4, kIn);
  TenderOptions o = choosing(TenderMode::row_scaled);
  EXPECT_FALSE(Quantized(o, x, w, false).input.rotated);
  for (std::size_t n = 0; n < w.rows(); ++n) w(n, 5 * n) = 50;
  o.activation_bits = 8;
  EXPECT_TRUE(Quantized(o, x, w, false).input.rotated);
}

TEST(TenderRotation, AutoTakesOneRowOnlyWhereNeitherBasisDoesWithout) {
  TenderOptions o = choosing(TenderMode::automatic, 1);
  o.activation_bits = 8;
  const Matrix x = loud_rows(), w = random_weights(4, kIn);
  o.error_share = 2e-4;
  TenderInput input = Quantized(o, x, w, false).input;
  EXPECT_EQ(input.mode, TenderMode::row_scaled);
  EXPECT_TRUE(input.rotated);
  o.error_share = 0;
  input = Quantized(o, x, w, false).input;
  EXPECT_EQ(input.mode, TenderMode::one_row);
}

TEST(TenderRotation, TheTotalShareAddsWhatTheErrorOfWeightsCostsOnCentredRows) {
  // TMax 127 and one group: the step is 1; the second row is off by {0, 0.5}.
  const Matrix x = matrix(2, 2, {127, 8, 0, 2.5});
  SiteShape shape;
  shape.in = 2;
  shape.outs = {2};
  TenderCalibration seen(shape, 0, true);
  seen.observe({x.view(), positions(2)});
  const TenderOptions o = options(8, TenderMode::static_scales, 1, 0);
  const TenderSample sample = tender_sample(seen.sample(), {10, 20});
  const std::vector<double> errors = {0.5, 0.25};
  const double first = (127.0 * 127 * 0.5 + 64 * 0.25) / (127.0 * 127 * 10 + 64 * 20);
  const double second = (0.25 * 20 + 6.25 * 0.25) / (6.25 * 20);
  EXPECT_DOUBLE_EQ(tender_total_share(tender_input_of(seen, o, o.mode), sample, errors),
                   (first + second) / 2);
}

TEST(TenderRotation, AutoKeepsCodesUnsignedWhereRowsStayAsTheyAre) {
  Matrix x = loud_channels();
  for (float& value : x.span()) value = std::abs(value);
  Matrix w = random_weights(4, kIn);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 3; k < kIn; k += 24) w(n, k) /= 1000;
  const TenderInput input = Quantized(choosing(TenderMode::row_scaled), x, w, false, true).input;
  EXPECT_FALSE(input.rotated);
  EXPECT_TRUE(input.is_unsigned);
}

TEST(TenderRotation, TheDefaultMeasuresWithActivationsBelow8BitsWhereThatCanBeMeasured) {
  const auto rotation = [](Json options) {
    return write_options(read_options<TenderOptions>("tender", options)).at("rotation");
  };
  EXPECT_EQ(rotation(Json::object()), "hadamard");
  EXPECT_EQ(rotation({{"weight_bits", 4}}), "hadamard");
  EXPECT_EQ(rotation({{"weight_bits", 4}, {"activation_bits", 4}}), "auto");
  EXPECT_EQ(rotation({{"weight_bits", 4}, {"activation_bits", 5}}), "auto");
  for (const int bits : {4, 8}) {
    Json options = {{"weight_bits", 4}, {"activation_bits", bits}, {"mode", "one-row"}};
    EXPECT_EQ(rotation(options), "hadamard");
    EXPECT_FALSE(Tender(read_options<TenderOptions>("tender", options)).traits().wants_inputs);
    options["mode"] = "dynamic";
    EXPECT_EQ(rotation(options), "hadamard");
    options["mode"] = "static";
    EXPECT_EQ(rotation(options), bits == 8 ? "hadamard" : "auto");
    options["numerics"] = "compat";
    EXPECT_EQ(rotation(options), "none");
    options["rotation"] = "hadamard";
    EXPECT_EQ(rotation(options), "hadamard");
  }
  for (const Json& wrong : {Json{{"rotation", "auto"}, {"mode", "one-row"}},
                            Json{{"rotation", "auto"}, {"mode", "dynamic"}},
                            Json{{"rotation", "auto"}, {"mode", "static"}, {"numerics", "compat"}}})
    try {
      rotation(wrong);
      FAIL() << wrong.dump();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "OPTION_VALUE");
      EXPECT_EQ(error.details().item, "rotation");
    }
}

TEST(TenderRotation, ACalibrationOfOtherRowsIsRefused) {
  SiteShape shape;
  shape.in = kIn;
  shape.outs = {3};
  const Matrix x = outlier_rows(5, kIn, 8);
  const std::array methods = {Tender(options(8, TenderMode::row_scaled, 8, 0)),
                              Tender(rotating(TenderMode::row_scaled)),
                              Tender(choosing(TenderMode::row_scaled))};
  for (const Tender& saves : methods) {
    auto seen = saves.calibrate(shape);
    seen.observe({x.view(), positions(5)});
    MemoryParts kept;
    seen.save(kept);
    for (const Tender& loads : methods)
      if (&loads == &saves)
        EXPECT_NO_THROW(loads.calibrate(shape).load(kept));
      else
        try {
          loads.calibrate(shape).load(kept);
          FAIL() << "took a calibration of other rows";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), "Q_CALIBRATION");
          EXPECT_EQ(error.details().item, "rotation");
        }
  }
}

TEST(TenderRotation, RowsThatOnlyRotatingTakesBeyondFloat32AreRefused) {
  SiteShape shape;
  shape.in = kIn;
  shape.outs = {3};
  Matrix x(1, kIn);
  for (float& value : x.span()) value = 3e38F;
  for (const Tender& method :
       {Tender(rotating(TenderMode::row_scaled)), Tender(choosing(TenderMode::row_scaled))})
    try {
      auto seen = method.calibrate(shape);
      seen.observe({x.view(), positions(1)});
      FAIL() << "an infinity was kept";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "Q_NONFINITE");
    }
}

TEST(TenderRotation, ACalibrationOfBothBasesIsThatOfEachAndIsKeptAndMerged) {
  SiteShape shape;
  shape.in = kIn;
  shape.outs = {3};
  const Matrix x = outlier_rows(24, kIn, 9);
  const auto seen_of = [&](TenderRotation rotation, std::size_t from, std::size_t rows) {
    TenderCalibration seen(shape, 4, true, false, rotation);
    const auto at = positions(rows, static_cast<std::int32_t>(from % 8));
    seen.observe({x.view().rows_from(from, rows), at});
    return seen;
  };
  TenderCalibration both = seen_of(TenderRotation::automatic, 0, 8);
  both.merge(seen_of(TenderRotation::automatic, 8, 16));
  MemoryParts kept;
  both.save(kept);
  TenderCalibration back(shape, 4, true, false, TenderRotation::automatic);
  back.load(kept);
  for (const bool rotated : {false, true}) {
    const auto basis = rotated ? TenderRotation::hadamard : TenderRotation::none;
    TenderCalibration one = seen_of(basis, 0, 8);
    one.merge(seen_of(basis, 8, 16));
    ASSERT_EQ(back.chunks(), one.chunks());
    for (std::size_t c = 0; c < one.chunks(); ++c) {
      EXPECT_EQ(back.rows(c), one.rows(c));
      EXPECT_TRUE(std::ranges::equal(back.least(c, rotated), one.least(c, rotated)));
      EXPECT_TRUE(std::ranges::equal(back.largest(c, rotated), one.largest(c, rotated)));
    }
  }
  EXPECT_TRUE(std::ranges::equal(back.sample().values().span(),
                                 seen_of(TenderRotation::none, 0, 24).sample().values().span()));
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
