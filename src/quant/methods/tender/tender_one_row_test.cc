// One-row mode: groups of the row itself, an exponent for every element.

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

TenderOptions one_row(int activation_bits, int groups = 0) {
  TenderOptions o;
  o.activation_bits = activation_bits;
  o.mode = TenderMode::one_row;
  o.groups = groups;
  settle(o);
  return o;
}

TEST(TenderOneRow, CodesAreThoseOfAChunkOfOneRowWithoutBiasTimesThePowerOfTheirGroup) {
  const Matrix x = outlier_rows(24, 80, 21);
  for (const int bits : {4, 8})
    for (const bool nonnegative : {false, true}) {
      const TenderOptions o = one_row(bits);
      const Quantized q(o, x, random_weights(4, 80), true, nonnegative);
      const int high = nonnegative ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
      for (std::size_t m = 0; m < x.rows(); ++m) {
        float tmax = 0;
        for (const float value : x.row(m))
          tmax = std::max(tmax, nonnegative ? value : std::abs(value));
        const auto codes = q.codes_of(x.row(m));
        for (std::size_t k = 0; k < 80; ++k) {
          const float value = nonnegative ? std::max(x(m, k), 0.0F) : x(m, k);
          const int i = tender_group(std::abs(value), tmax, o.groups);
          const float scaled = value * (static_cast<float>(high) / tmax) *
                               std::exp2f(static_cast<float>(o.groups - 1 - i));
          ASSERT_EQ(codes[k], std::lrint(scaled) << i) << bits << " bits, " << m << " " << k;
        }
      }
    }
}

TEST(TenderOneRow, AnElementMovesByHalfItsOwnStepAtMostWhateverTheRow) {
  const Matrix x = outlier_rows(16, 80, 22);
  for (const int bits : {4, 8}) {
    const TenderOptions o = one_row(bits);
    const Quantized q(o, x, random_weights(2, 80), false);
    for (const float by : {1e-12F, 1.0F, 1e20F})
      for (std::size_t m = 0; m < 16; ++m) {
        std::vector<float> row(x.row(m).begin(), x.row(m).end());
        float tmax = 0;
        for (float& value : row) tmax = std::max(tmax, std::abs(value *= by));
        const auto rounded = q.rounded(row);
        const double qmax = (1 << (bits - 1)) - 1;
        for (std::size_t k = 0; k < 80; ++k) {
          const int i = tender_group(std::abs(row[k]), tmax, o.groups);
          const double step = static_cast<double>(tmax) / qmax * std::exp2(i + 1 - o.groups);
          // and float32 roundings of the factor, two products and the step
          EXPECT_LE(std::abs(static_cast<double>(row[k]) - rounded[k]),
                    step / 2 + step * qmax * 8 * 0x1p-24);
        }
      }
  }
}

TEST(TenderOneRow, ScalingARowByAPowerOfTwoChangesItsStepAndNoCode) {
  const Matrix x = outlier_rows(8, 40, 23);
  const Quantized q(one_row(8), x, random_weights(2, 40), false);
  for (const int j : {-20, -1, 3, 30})
    for (std::size_t m = 0; m < 8; ++m) {
      std::vector<float> row(x.row(m).begin(), x.row(m).end());
      for (float& value : row) value *= static_cast<float>(std::exp2(j));
      EXPECT_EQ(q.codes_of(row), q.codes_of(x.row(m)));
      EXPECT_EQ(q.step_of(row), q.step_of(x.row(m)) * static_cast<float>(std::exp2(j)));
    }
}

TEST(TenderOneRow, NeedsNoCalibrationAndStoresNoMetadataButItsNumbers) {
  SiteShape shape;
  shape.in = 12;
  shape.outs = {3};
  const Tender method(one_row(8));
  EXPECT_FALSE(method.traits().wants_inputs);
  const TenderInput input = method.input(method.calibrate(shape), {});
  MemoryParts parts;
  save_tender_input(input, parts);
  ASSERT_EQ(parts.items.size(), 1U);
  EXPECT_EQ(parts.payload(), input.bytes());
}

TEST(TenderOneRow, GroupsThatSixteenBitsDoNotHoldAreRefused) {
  EXPECT_EQ(tender_most_element_groups(8), 8);
  EXPECT_EQ(tender_most_element_groups(4), 12);
  for (const auto& [bits, groups] : {std::pair{8, 9}, std::pair{4, 13}}) {
    EXPECT_NO_THROW(one_row(bits, groups - 1));
    try {
      one_row(bits, groups);
      FAIL() << groups << " groups of " << bits << " bits";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "OPTION_VALUE");
    }
    TenderInput input;
    input.in = 4;
    input.activation_bits = bits;
    input.groups = groups;
    input.mode = TenderMode::one_row;
    MemoryParts parts;
    save_tender_input(input, parts);
    try {
      load_tender_input(parts);
      FAIL() << groups << " groups of " << bits << " bits in a file";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "QC_RANGE");
    }
  }
  TenderOptions chunks;
  chunks.mode = TenderMode::one_row;
  chunks.chunk_rows = 8;
  EXPECT_THROW(settle(chunks), Error);
}

TEST(TenderCheck12, OperandsOfSixteenBitsThatSumBeyondThirtyTwoAreCutAndStayExact) {
  constexpr std::size_t kIn = 1100;  // 1100 * 127 * 127 * 2^7 > 2^31
  Matrix x(3, kIn), w(5, kIn);
  for (float& value : x.span()) value = 3;
  for (std::size_t k = 0; k < kIn; ++k) {
    x(2, k) = -3;
    for (std::size_t n = 0; n < 5; ++n) w(n, k) = n % 2 == 0 ? 0.5F : -0.5F;
  }
  const Quantized q(one_row(8), x, w, false);
  for (const Isa isa : kMasks) {
    TenderInput input = Quantized::copy_of(q.input);
    auto packed = q.packed();
    Tender::prepare(input, usable(isa));
    Tender::prepare(input, packed[0], usable(isa));
    EXPECT_GT(packed[0].integers.parts(), 1U);
    const Matrix y = q.matmul(x, isa);
    const auto sum = static_cast<float>(std::int64_t{kIn} * 127 * 127 * 128);
    for (std::size_t m = 0; m < 3; ++m)
      for (std::size_t n = 0; n < 5; ++n) {
        const float sign = (m == 2 ? -1.0F : 1.0F) * (n % 2 == 0 ? 1.0F : -1.0F);
        EXPECT_EQ(y(m, n), sign * sum * (q.codes.weights.scales[n] * q.step_of(x.row(m))));
      }
  }
}

TEST(TenderCheck10, MetadataOfSixNumbersIsReadAsItWasWritten) {
  for (const TenderMode mode : {TenderMode::static_scales, TenderMode::row_scaled}) {
    const Quantized q(options(8, mode, 5, 8), outlier_rows(24, 48, 24), random_weights(4, 48),
                      true);
    MemoryParts parts;
    save_tender_input(q.input, parts);
    const MemoryParts whole = parts;
    for (auto& item : parts.items)
      if (item.name == "tender_meta") {
        item.shape = {6};
        item.bytes.resize(24);
      }
    MemoryParts again;
    save_tender_input(load_tender_input(parts), again);
    EXPECT_EQ(again.items, whole.items);
  }
}

}  // namespace
}  // namespace tender::quant
