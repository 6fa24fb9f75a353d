// Mode auto: the better of the two cheap modes, and one-row where neither keeps the error share.

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

TenderCalibration seen_rows(const Matrix& x, bool centre = false, bool keep = true) {
  SiteShape shape;
  shape.in = x.cols();
  shape.outs = {1};
  shape.centre = centre;
  TenderCalibration seen(shape, 0, keep);
  seen.observe({x.view(), positions(x.rows())});
  return seen;
}

TenderInput chosen(const Matrix& x, const Matrix& w, double error_share, int bits = 8) {
  TenderOptions o;
  o.activation_bits = bits;
  o.error_share = error_share;
  settle(o);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  return tender_input(seen_rows(x), o, weights);
}

double share_of(const Matrix& x, const Matrix& w, TenderMode mode) {
  TenderOptions o;
  settle(o);
  const auto seen = seen_rows(x);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  return tender_error_share(tender_input_of(seen, o, mode),
                            tender_sample(seen.sample(), channel_costs(weights)));
}

/// Rows of different loudness under scales of the loudest, and in each a few loud elements
/// wherever, so that a row's own factor is coarse for the others.
Matrix massive_rows() {
  Rng rng(31, "massive");
  Matrix x(60, 32);
  for (std::size_t m = 0; m < 60; ++m)
    for (std::size_t k = 0; k < 32; ++k)
      x(m, k) = rng.normal() * (rng.below(40) == 0 ? 20.0F : 1.0F) / static_cast<float>(1 << m % 7);
  x(0, 3) = 3000;
  return x;
}

TEST(TenderModes, TheShareIsTheMeanOverRowsOfErrorOverEnergyWeighedByTheSquaresOfTheWeights) {
  // TMax 127 and one group: the step is 1. Rows are off by {0, 0.25} and {0, 0.5}.
  const Matrix x = matrix(2, 2, {127, 8.25, 0, 2.5});
  const Matrix w = matrix(2, 2, {1, 2, 3, 4});  // costs 1 + 9 and 4 + 16
  const auto seen = seen_rows(x);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  const auto costs = channel_costs(weights);
  EXPECT_EQ(costs, (std::vector<double>{10, 20}));
  TenderOptions o = options(8, TenderMode::static_scales, 1, 0);
  const double expected =
      (0.0625 * 20 / (127.0 * 127 * 10 + 8.25 * 8.25 * 20) + 0.25 * 20 / (2.5 * 2.5 * 20)) / 2;
  EXPECT_DOUBLE_EQ(
      tender_error_share(tender_input_of(seen, o, o.mode), tender_sample(seen.sample(), costs)),
      expected);
}

TEST(TenderModes, TheBiasOfASiteCountsAsEnergyAndNotAsError) {
  const Matrix x = matrix(2, 1, {100, 102});  // bias 101, rounded without error: +-1 is TMax
  const auto seen = seen_rows(x, true);
  const TenderInput input =
      tender_input_of(seen, options(8, TenderMode::static_scales, 1, 0), TenderMode::static_scales);
  ASSERT_EQ(input.bias, (std::vector<float>{101}));
  // 127 * (1 / 127) is 1 but for one rounding of float32, over an energy of 100^2
  EXPECT_LE(tender_error_share(input, tender_sample(seen.sample(), {1})), 0x1p-46 / 1e4);
}

TEST(TenderModes, TheBetterOfTheTwoCheapModesIsTakenWhereItKeepsTheShareElseOneRow) {
  const Matrix x = massive_rows();
  const Matrix w = random_weights(6, 32);
  const double fixed = share_of(x, w, TenderMode::static_scales);
  const double scaled = share_of(x, w, TenderMode::row_scaled);
  const double element = share_of(x, w, TenderMode::one_row);
  ASSERT_GT(fixed, 2 * scaled);
  ASSERT_GT(scaled, 2 * element);
  EXPECT_EQ(chosen(x, w, fixed).mode, TenderMode::row_scaled) << "at the same cost";
  EXPECT_EQ(chosen(x, w, scaled).mode, TenderMode::row_scaled);
  EXPECT_EQ(chosen(x, w, scaled / 1.01).mode, TenderMode::one_row);
  EXPECT_EQ(chosen(x, w, 0).mode, TenderMode::one_row) << "where none keeps it, the finest";
}

TEST(TenderModes, StaticIsTakenWhereAFactorOfTheRowsOwnMakesNothingBetter) {
  const Matrix x = matrix(2, 2, {127, 64, 127, -3});  // every row reaches TMax: no error in either
  const Matrix w = random_weights(6, 2);
  ASSERT_EQ(share_of(x, w, TenderMode::static_scales), share_of(x, w, TenderMode::row_scaled));
  EXPECT_EQ(chosen(x, w, 1).mode, TenderMode::static_scales);
}

TEST(TenderModes, OneMassiveRowDoesNotHideWhatItsScaleDoesToTheOthers) {
  // Over all rows together the massive one has nearly all the energy, and next to no error.
  const Matrix x = massive_rows();
  const Matrix w = random_weights(6, 32);
  double error = 0, energy = 0;
  const Quantized q(options(8, TenderMode::static_scales, 8, 0), x, w, false);
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const auto rounded = q.rounded(x.row(m));
    for (std::size_t k = 0; k < x.cols(); ++k) {
      error += std::pow(static_cast<double>(x(m, k)) - rounded[k], 2);
      energy += std::pow(static_cast<double>(x(m, k)), 2);
    }
  }
  EXPECT_GT(share_of(x, w, TenderMode::static_scales), 10 * error / energy);
}

TEST(TenderModes, OneRowTakesFewerGroupsWhereWordsDoNotHoldThoseOfTheOtherModes) {
  TenderOptions o;
  o.activation_bits = 4;
  o.mode = TenderMode::one_row;
  settle(o);
  const Matrix x = massive_rows(), w = random_weights(6, 32);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  EXPECT_EQ(describe_tender_input(tender_input(seen_rows(x), o, weights)),
            "one-row, 12 groups, operands of 15 bits");
}

TEST(TenderModes, OneRowIsNeverTakenForActivationsBelow8Bits) {
  for (const int bits : {4, 5, 7})
    EXPECT_EQ(describe_tender_input(chosen(massive_rows(), random_weights(6, 32), 0, bits)),
              "row-scaled, 14 groups");
}

/// A site whose rows are all as loud as the loudest, or of which one is half as loud again.
TenderRounding better_rounding(bool one_is_loud, TenderRounding rounding) {
  Rng rng(32, "rounding");
  Matrix x(100, 24);
  for (float& value : x.span()) value = rng.normal() < 0 ? -1.0F : 1.0F;  // at TMax: down clips all
  if (one_is_loud) {
    for (float& value : x.span()) value *= 0.49F * std::abs(rng.normal()) / 3;
    for (std::size_t k = 0; k < 24; ++k) x(50, k) = 0.7F;  // what down takes off this row alone
  }
  const Matrix w = random_weights(6, 24);
  TenderOptions o = options(4, TenderMode::static_scales, 4, 0);
  o.rounding = rounding;
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  const TenderInput input = tender_input(seen_rows(x), o, weights);
  const bool up = *std::ranges::max_element(input.group) == 3;
  return up ? TenderRounding::up : TenderRounding::down;
}

TEST(TenderModes, RoundingIsChosenByTheErrorOfTheSite) {
  for (const bool loud : {false, true}) {
    EXPECT_EQ(better_rounding(loud, TenderRounding::up), TenderRounding::up);
    EXPECT_EQ(better_rounding(loud, TenderRounding::down), TenderRounding::down);
  }
  EXPECT_EQ(better_rounding(false, TenderRounding::choose), TenderRounding::up);
  EXPECT_EQ(better_rounding(true, TenderRounding::choose), TenderRounding::down);
}

TEST(TenderModes, RoundingDownBelongsToScalesThatAreCalibrated) {
  for (const char* mode : {"row-scaled", "one-row", "dynamic"})
    for (const char* rounding : {"down", "choose"}) try {
        read_options<TenderOptions>("tender", {{"mode", mode}, {"rounding", rounding}});
        FAIL() << mode;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), "OPTION_VALUE");
      }
}

TEST(TenderModes, ACalibrationWithoutSampleRowsIsRefusedByNameOfTheTrouble) {
  TenderOptions o;
  settle(o);
  const Matrix w = random_weights(6, 32);
  const std::array<MatrixView<const float>, 1> weights = {w.view()};
  try {
    tender_input(seen_rows(massive_rows(), false, false), o, weights);
    FAIL() << "chose a mode without rows";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "Q_CALIBRATION");
  }
}

}  // namespace
}  // namespace tender::quant
