// The golden example, the groups and the integer product: what must come out to the last bit.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

Matrix golden_rows() {
  return matrix(3, 6,
                {29, 12, 7.5, 7.5, 3, 12.5, -27, -16, -6.5, -7.5, 3, 7.5, 13, 4, 3.5, 2, 3, 11.5});
}
Matrix golden_weights() { return matrix(2, 6, {1, 2, -3, 7, 5, -2, -7, 3, 4, 0, -1, 6}); }

TEST(TenderCheck1, TheGoldenExampleIsReproducedStepByStep) {
  const Matrix x = golden_rows();
  const Quantized q(options(4, TenderMode::static_scales, 3, 0), x, golden_weights(), true);
  EXPECT_EQ(q.input.bias, (std::vector<float>{1, -2, 0.5, 0, 3, 10}));
  EXPECT_EQ(q.input.tmax, (std::vector<float>{28}));
  EXPECT_EQ(q.input.group, (std::vector<std::uint8_t>{2, 1, 0, 1, 0, 0}));
  const ChunkRounding& chunk = q.rounding.chunks.at(0);
  EXPECT_EQ(chunk.unit, 1.0F);  // scales 1, 2 and 4
  EXPECT_EQ(chunk.shift, (std::vector<std::uint8_t>{2, 1, 0, 1, 0, 0}));
  EXPECT_EQ(chunk.multiplier, (std::vector<float>{0.25, 0.5, 1, 0.5, 1, 1}));
  EXPECT_EQ(q.codes.weights.scales, (std::vector<float>{1, 1}));
  EXPECT_EQ(q.codes.weights.codes,
            (std::vector<std::int8_t>{1, 2, -3, 7, 5, -2, -7, 3, 4, 0, -1, 6}));
  EXPECT_EQ(q.codes.compensation, (std::vector<float>{-9.5, 46}));
  EXPECT_EQ(q.codes_of(x.row(0)), (std::vector<std::int16_t>{7, 7, 7, 4, 0, 2}));
  EXPECT_EQ(q.codes_of(x.row(1)), (std::vector<std::int16_t>{-7, -7, -7, -4, 0, -2}));
  EXPECT_EQ(q.codes_of(x.row(2)), (std::vector<std::int16_t>{3, 3, 3, 1, 0, 2}));
}

TEST(TenderCheck1, TheGoldenAccumulatorsAppearAfterEachGroup) {
  const Matrix x = golden_rows();
  const Quantized q(options(4, TenderMode::static_scales, 3, 0), x, golden_weights(), true);
  const IntegerRows rows(q.rounding, Isa::scalar);
  ThreadPool pool(1);
  const IntegerCodes codes = rows.round({x.view(), positions(3)}, pool);
  kernels::PanelsI8 panels(2, rows.slots().size() / 4, rows.offset_panels());
  for (std::size_t n = 0; n < 2; ++n)
    panels.put(n, std::span(q.codes.weights.codes).subspan(n * 6, 6), rows.slots());
  const std::array<std::array<std::array<int, 2>, 3>, 3> expected = {
      {{{{7, -49}, {56, -77}, {87, -114}}},
       {{{-7, 49}, {-56, 77}, {-87, 114}}},
       {{{3, -21}, {19, -33}, {25, -42}}}}};
  ASSERT_EQ(rows.segments().size(), 3U);
  for (std::size_t groups = 1; groups <= 3; ++groups) {
    std::array<std::int32_t, 48> sums{};
    kernels::GemmI8Job job;
    job.codes = codes.codes.data();
    job.stride = codes.stride;
    job.rows = 3;
    job.panels = panels.data();
    job.panel_bytes = panels.panel_bytes();
    job.out = 2;
    job.segments = rows.segments().data();
    job.segment_count = groups;
    job.sums = sums.data();
    job.sums_stride = 16;
    rows.kernel().run(job, 0, 1);
    for (std::size_t m = 0; m < 3; ++m)
      for (std::size_t n = 0; n < 2; ++n) EXPECT_EQ(sums[m * 16 + n], expected[m][groups - 1][n]);
  }
}

TEST(TenderCheck1, TheGoldenResultComesOutOfEveryKernelAndOfTheReference) {
  const Matrix x = golden_rows();
  for (const int chunk_rows : {0, 3}) {
    const Quantized q(options(4, TenderMode::static_scales, 3, chunk_rows), x, golden_weights(),
                      true);
    const std::vector<float> expected = {77.5, -68, -96.5, 160, 15.5, 4};
    for (const Isa isa : kMasks) {
      const Matrix y = q.matmul(x, isa);
      EXPECT_EQ(std::vector<float>(y.span().begin(), y.span().end()), expected) << to_string(isa);
    }
    MatrixOf<double> y(3, 2);
    Tender::reference(q.input, q.packed()[0], {x.view(), positions(3)}, y.view());
    EXPECT_EQ(std::vector<float>(y.span().begin(), y.span().end()), expected);
  }
}

TEST(TenderCheck1, TheGoldenExampleRoundedDownIsReproducedInEveryKernel) {
  const Matrix x = golden_rows();
  TenderOptions o = options(4, TenderMode::static_scales, 3, 0);
  o.rounding = TenderRounding::down;
  const Quantized q(o, x, golden_weights(), true);
  EXPECT_EQ(q.input.group, (std::vector<std::uint8_t>{1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(q.codes_of(x.row(0)), (std::vector<std::int16_t>{7, 7, 7, 7, 0, 2}));
  EXPECT_EQ(q.codes_of(x.row(1)), (std::vector<std::int16_t>{-8, -8, -7, -8, 0, -2}));
  EXPECT_EQ(q.codes_of(x.row(2)), (std::vector<std::int16_t>{6, 6, 3, 2, 0, 2}));
  const std::vector<float> expected = {42.5, 9, -72.5, 94, 15.5, 4};
  for (const Isa isa : kMasks) {
    const Matrix y = q.matmul(x, isa);
    EXPECT_EQ(std::vector<float>(y.span().begin(), y.span().end()), expected) << to_string(isa);
  }
}

TEST(TenderCheck4, OneDequantizationEqualsAScaleForEveryGroupInDouble) {
  const Matrix x = outlier_rows(32, 96, 1);
  const Quantized q(options(8, TenderMode::static_scales, 8, 0), x, random_weights(24, 96), false);
  const Matrix y = q.matmul(x, host_isa());
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const auto codes = q.codes_of(x.row(m));
    for (std::size_t n = 0; n < 24; ++n) {
      double sum = 0, magnitude = 0;
      for (int i = 0; i < 8; ++i) {
        double part = 0;
        for (std::size_t k = 0; k < 96; ++k)
          if (q.input.group[k] == i) part += codes[k] * q.codes.weights.codes[n * 96 + k];
        const double scale = static_cast<double>(q.input.tmax[0]) / 127 * std::exp2(i - 7);
        sum += part * scale * static_cast<double>(q.codes.weights.scales[n]);
        magnitude += std::abs(part * scale) * static_cast<double>(q.codes.weights.scales[n]);
      }
      // five roundings in float32: of TMax / 127, the sum, the product of the scales, and with the
      // sum
      EXPECT_NEAR(static_cast<double>(y(m, n)), sum, 5 * 0x1p-24 * magnitude);
    }
  }
}

TEST(TenderCheck5, AValueOnAThresholdBelongsToItAndTheNextOneAboveDoesNot) {
  constexpr float kTmax = 28;
  EXPECT_EQ(tender_group(28, kTmax, 3), 2);
  EXPECT_EQ(tender_group(14, kTmax, 3), 1);
  EXPECT_EQ(tender_group(std::nextafter(14.0F, 15.0F), kTmax, 3), 2);
  EXPECT_EQ(tender_group(7, kTmax, 3), 0);
  EXPECT_EQ(tender_group(std::nextafter(7.0F, 8.0F), kTmax, 3), 1);
  EXPECT_EQ(tender_group(0, kTmax, 3), 0);
  EXPECT_EQ(tender_group(28, kTmax, 1), 0);
  EXPECT_EQ(tender_group(28, kTmax, 20), 19);
  EXPECT_EQ(tender_group(1e-30F, kTmax, 20), 0);
}

TEST(TenderCheck5, OneGroupEqualsPerTensorQuantizationOfTheCentredChunk) {
  const Matrix x = outlier_rows(16, 40, 2);
  const Quantized q(options(8, TenderMode::static_scales, 1, 0), x, random_weights(8, 40), true);
  const float multiplier = 127 / q.input.tmax[0];
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const auto codes = q.codes_of(x.row(m));
    for (std::size_t k = 0; k < 40; ++k)
      EXPECT_EQ(codes[k], std::lrint((x(m, k) - q.input.bias[k]) * multiplier));
  }
}

TEST(TenderCheck6, PermutingTheChannelsChangesNoBit) {
  const Matrix x = outlier_rows(9, 50, 3);
  const Matrix w = random_weights(20, 50);
  Matrix px(9, 50), pw(20, 50);
  for (std::size_t k = 0; k < 50; ++k) {
    const std::size_t to = k * 7 % 50;
    for (std::size_t m = 0; m < 9; ++m) px(m, to) = x(m, k);
    for (std::size_t n = 0; n < 20; ++n) pw(n, to) = w(n, k);
  }
  for (const TenderMode mode : {TenderMode::static_scales, TenderMode::row_scaled})
    for (const Isa isa : kMasks) {
      const Matrix y = Quantized(options(8, mode, 8, 0), x, w, false).matmul(x, isa);
      const Matrix z = Quantized(options(8, mode, 8, 0), px, pw, false).matmul(px, isa);
      EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), z.span().begin()));
    }
}

TEST(TenderCheck6, AChunkIsIndependentOfTheOthersAndPositionsPastTheLastUseTheLast) {
  Matrix x = outlier_rows(12, 40, 4);
  const Matrix w = random_weights(10, 40);
  const TenderOptions o = options(8, TenderMode::static_scales, 8, 4);
  const Quantized before(o, x, w, true);
  const Matrix y = before.matmul(x, host_isa());
  Matrix other = x.copy();
  for (std::size_t k = 0; k < 40; ++k) other(6, k) *= 30;  // a row of chunk 1
  const Quantized after(o, other, w, true);
  const Matrix z = after.matmul(x, host_isa());
  for (const std::size_t m : {0U, 1U, 2U, 3U, 8U, 9U, 10U, 11U})
    EXPECT_TRUE(std::equal(y.row(m).begin(), y.row(m).end(), z.row(m).begin())) << "row " << m;
  EXPECT_FALSE(std::equal(y.row(5).begin(), y.row(5).end(), z.row(5).begin()));

  ASSERT_EQ(before.input.chunks(), 3U);
  const Matrix far = before.matmul(x, host_isa(), 5000);
  for (std::size_t m = 8; m < 12; ++m)
    EXPECT_TRUE(std::equal(y.row(m).begin(), y.row(m).end(), far.row(m).begin()));
}

TEST(Tender, DefaultsFollowTheBitsAndTheMode) {
  const auto resolved = [](const Json& json) {
    const Json all = write_options(read_options<TenderOptions>("tender", json));
    Json some;
    for (const char* name : {"weight_bits", "activation_bits", "mode", "groups", "chunk_rows"})
      some[name] = all[name];
    return some;
  };
  EXPECT_EQ(resolved(Json::object()), (Json{{"weight_bits", 8},
                                            {"activation_bits", 8},
                                            {"mode", "auto"},
                                            {"groups", 8},
                                            {"chunk_rows", 0}}));
  EXPECT_EQ(resolved({{"activation_bits", 4}, {"mode", "static"}}), (Json{{"weight_bits", 8},
                                                                          {"activation_bits", 4},
                                                                          {"mode", "static"},
                                                                          {"groups", 14},
                                                                          {"chunk_rows", 256}}));
  EXPECT_EQ(resolved({{"mode", "static"}, {"chunk_rows", 0}})["chunk_rows"], 0);
  EXPECT_EQ(resolved({{"activation_bits", 4}, {"mode", "one-row"}})["groups"], 12);
}

TEST(Tender, MultipliersAreForFourBitsAndGroupsOf32And64And128) {
  const auto code_of = [](const Json& json) -> std::string {
    try {
      read_options<TenderOptions>("tender", json);
    } catch (const Error& error) {
      return error.code();
    }
    return "";
  };
  for (const int group : {0, 32, 64, 128})
    EXPECT_EQ(code_of({{"weight_bits", 4}, {"multiplier_group", group}}), "") << group;
  for (const int group : {-1, 1, 33, 96, 256})
    EXPECT_NE(code_of({{"weight_bits", 4}, {"multiplier_group", group}}), "") << group;
  EXPECT_EQ(code_of({{"weight_bits", 8}, {"multiplier_group", 64}}), "OPTION_VALUE");
}

TEST(Tender, EmptyGroupsAtTheBottomAreDroppedAndTheUnitIsTheSmallestScaleInUse) {
  const Matrix x = matrix(2, 4, {64, 32, 20, 17, -64, -31, 18, 16.5});
  const Quantized q(options(8, TenderMode::static_scales, 10, 0), x, random_weights(2, 4), false);
  EXPECT_EQ(q.input.group, (std::vector<std::uint8_t>{9, 8, 8, 8}));
  EXPECT_EQ(q.rounding.chunks[0].shift, (std::vector<std::uint8_t>{1, 0, 0, 0}));
  EXPECT_EQ(q.rounding.chunks[0].unit, 64.0F / 127 / 2);
}

}  // namespace
}  // namespace tender::quant
