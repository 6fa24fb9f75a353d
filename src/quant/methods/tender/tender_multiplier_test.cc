// Integer multipliers of 4-bit weights: check 19 of tender.md section 9, and damaged ones.

#include <gtest/gtest.h>

#include <cstring>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

TenderOptions w4a8(int group, WeightScale scale = WeightScale::mse) {
  TenderOptions o = options(8, TenderMode::row_scaled, 8, 0);
  o.weight_bits = 4;
  o.multiplier_group = group;
  o.weights.weight_scale = scale;
  return o;
}

/// Weights whose groups of 32 inputs have very different reach.
Matrix uneven_weights(std::size_t out, std::size_t in) {
  Matrix w = random_weights(out, in);
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t k = 0; k < in; ++k) w(n, k) *= 0.1F + static_cast<float>((k / 32 + n) % 5);
  return w;
}

MemoryParts saved(const Quantized& q) {
  MemoryParts parts;
  Tender::save(q.packed()[0], parts);
  return parts;
}

TEST(TenderCheck19, ExpandedCodesStayWithin127) {
  for (const int group : {32, 64, 128})
    for (const WeightScale scale : {WeightScale::max, WeightScale::mse}) {
      const Quantized q(w4a8(group, scale), outlier_rows(24, 200, 3), uneven_weights(33, 200),
                        true);
      const SymmetricCodes codes = q.codes.weights;
      ASSERT_EQ(codes.multipliers.size(), 33 * codes.groups());
      int largest = 0;
      for (std::size_t n = 0; n < 33; ++n)
        for (std::size_t k = 0; k < 200; ++k) {
          const int code = codes.codes[n * 200 + k];
          EXPECT_LE(std::abs(code), 7);
          EXPECT_GE(codes.multiplier(n, k), 1);
          EXPECT_LE(codes.multiplier(n, k), 18);
          EXPECT_EQ(expanded(codes).codes[n * 200 + k], code * codes.multiplier(n, k));
          largest = std::max(largest, std::abs(code * codes.multiplier(n, k)));
        }
      EXPECT_LE(largest, 127);
      EXPECT_GE(largest, 100);  // what 8 bits give is used
    }
}

/// Every product is the exact integer sum, dequantized in the stated order.
void expect_exact_sums(const Quantized& q, const Matrix& x) {
  const SymmetricCodes& codes = q.codes.weights;
  const auto& shift = q.rounding.chunks[0].shift;
  for (const Isa mask : kMasks) {
    const Matrix y = q.matmul(x, mask);
    for (std::size_t m = 0; m < x.rows(); ++m) {
      const auto row = q.codes_of(x.row(m));
      for (std::size_t n = 0; n < y.cols(); ++n) {
        std::int64_t sum = 0;
        for (std::size_t k = 0; k < x.cols(); ++k)
          sum += std::int64_t{row[k]} * codes.codes[n * x.cols() + k] * codes.multiplier(n, k) *
                 (std::int64_t{1} << shift[k]);
        const float product = static_cast<float>(sum) * (codes.scales[n] * q.step_of(x.row(m)));
        ASSERT_EQ(y(m, n), product + q.codes.compensation[n])
            << to_string(mask) << ", " << q.input.activation_bits << " bits";
      }
    }
  }
}

TEST(TenderCheck19, TheResultEqualsTheInt64SumOnEveryCpu) {
  const Matrix x = outlier_rows(17, 200, 4);
  expect_exact_sums(Quantized(w4a8(64), x, uneven_weights(37, 200), true), x);
}

TEST(TenderMultipliers, ActivationsOfAnyBitsFrom4To8GiveTheExactSumOnEveryCpu) {
  const Matrix x = outlier_rows(19, 200, 5);
  double last = 1e30;
  for (int bits = 4; bits <= 8; ++bits) {
    TenderOptions o = w4a8(64);
    o.activation_bits = bits;
    o.groups = 0;
    settle(o);
    const Quantized q(o, x, uneven_weights(37, 200), true);
    expect_exact_sums(q, x);
    double error = 0;
    for (std::size_t m = 0; m < x.rows(); ++m) {
      const auto rounded = q.rounded(x.row(m));
      for (std::size_t k = 0; k < 200; ++k)
        error += std::pow(static_cast<double>(x(m, k)) - rounded[k], 2);
    }
    EXPECT_LT(error, 0.5 * last) << bits;  // a quarter, but for what is too small for any code
    last = error;
  }
}

TEST(TenderCheck19, AWeightTakesFourBitsAndAnEighthOfAByteIn64AndAScalePerOutput) {
  const std::size_t out = 48, in = 576;
  const Quantized q(w4a8(64), outlier_rows(24, in, 5), uneven_weights(out, in), false);
  const std::size_t bits = 8 * saved(q).payload();
  EXPECT_EQ(bits, out * in * 4 + out * (in / 64) * 8 + out * 32);
  EXPECT_EQ(bits - out * 32, out * in * 33 / 8);  // 4 + 8/64 bits
  EXPECT_EQ(8 * Tender::bytes(q.packed()[0]), bits);
}

TEST(TenderCheck19, TheLayerTakesHardlyMoreInMemoryThanStored) {
  const Quantized q(w4a8(64), outlier_rows(24, 576, 5), uneven_weights(512, 576), false);
  PackedSiteOf<Tender> site(Quantized::copy_of(q.input), q.packed());
  site.prepare(host_isa());
  EXPECT_GE(site.resident_bytes(), site.bytes());
  EXPECT_LT(static_cast<double>(site.resident_bytes()), 1.15 * static_cast<double>(site.bytes()));
}

TEST(TenderCheck19, TheLastGroupMayBeShorter) {
  const Quantized q(w4a8(64), outlier_rows(24, 70, 6), uneven_weights(5, 70), true);
  EXPECT_EQ(q.codes.weights.multipliers.size(), 10U);
  EXPECT_EQ(8 * saved(q).payload(), 8U * (5 * 35 + 5 * 2 + 4 * 5 + 4 * 5));  // and compensation
}

TEST(TenderCheck19, MultipliersMakeUnevenGroupsMoreExactThanOneScaleDoes) {
  const Matrix x = outlier_rows(24, 256, 7), w = uneven_weights(40, 256);
  const auto error = [&](int group, WeightScale scale) {
    const Quantized q(w4a8(group, scale), x, w, false);
    Matrix d(40, 256);
    dequantize_symmetric(q.codes.weights, d.view());
    double sum = 0;
    for (std::size_t i = 0; i < d.span().size(); ++i) {
      const double e = static_cast<double>(d.span()[i]) - static_cast<double>(w.span()[i]);
      sum += e * e;
    }
    return sum;
  };
  for (const WeightScale scale : {WeightScale::max, WeightScale::mse}) {
    EXPECT_LT(error(64, scale), error(0, scale));
    EXPECT_LT(error(32, scale), error(64, scale));  // groups of 32 are what differs
  }
  EXPECT_LT(error(64, WeightScale::mse), error(64, WeightScale::max));
  EXPECT_LT(error(0, WeightScale::mse), error(0, WeightScale::max));
}

TEST(TenderCheck12, TheBoundOnSumsIsOfTheExpandedCodes) {
  // Codes 7 times multipliers 18, as large as they get, on rows whose top group is 2^19 up.
  const std::size_t in = 256;
  Matrix x(1, in), w(1, in);
  for (std::size_t k = 0; k < in; ++k) {
    x(0, k) = k % 2 == 0 ? 1.0F : 0x1p-18F;
    w(0, k) = 0.07F;
  }
  TenderOptions o = w4a8(64, WeightScale::max);
  o.groups = 19;
  const Quantized with(o, x, w, false);
  o.multiplier_group = 0;
  const Quantized without(o, x, w, false);
  const auto fits = [](const Quantized& q) {
    const SymmetricBytes stored = pack_symmetric(expanded(q.codes.weights));
    return sums_fit_32_bits(q.rounding, {stored.shape, stored.codes(), stored.scales, {}});
  };
  EXPECT_FALSE(fits(without));  // 128 * 127 * 7 * 2^18 > 2^31
  EXPECT_FALSE(fits(with));
  o.groups = 15;  // 128 * 127 * 7 * 2^14 < 2^31 < 18 times that
  EXPECT_TRUE(fits(Quantized(o, x, w, false)));
  o.multiplier_group = 64;
  const Quantized large(o, x, w, false);
  EXPECT_FALSE(fits(large));
  EXPECT_NEAR(large.matmul(x, host_isa())(0, 0), 128 * 0.07, 128 * 0.07 / 127);
}

TEST(TenderCheck19, DamagedMultipliersAreRefusedAndEveryFlippedBitIsOrRuns) {
  const Matrix x = outlier_rows(9, 70, 8);
  const Quantized q(w4a8(32), x, uneven_weights(6, 70), true);
  const MemoryParts whole = saved(q);
  const auto code_after = [&](std::string_view name, std::size_t at, std::uint8_t mask,
                              std::uint8_t value) -> std::string {
    MemoryParts parts = whole;
    for (auto& item : parts.items)
      if (item.name == name)
        item.bytes[at] =
            (item.bytes[at] & static_cast<std::byte>(~mask)) | static_cast<std::byte>(value & mask);
    try {
      TenderPacked packed = Tender::load(q.input, parts);
      TenderInput input = Quantized::copy_of(q.input);
      Tender::prepare(input, host_isa());
      Tender::prepare(input, packed, host_isa());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
      return error.code();
    }
    return "";
  };
  EXPECT_EQ(code_after("tender_multipliers", 0, 0xff, 0), "QC_RANGE");
  EXPECT_EQ(code_after("tender_multipliers", 0, 0xff, 1), "");
  EXPECT_EQ(code_after("tender_multipliers", 0, 0xff, 19), "QC_RANGE");
  EXPECT_EQ(code_after("tender_multipliers", 0, 0xff, 255), "QC_RANGE");
  // -8, which quantizing never makes, is read where its product fits 8 bits.
  const int first = q.codes.weights.multipliers[0];
  EXPECT_EQ(code_after("tender_codes", 0, 0x0f, 8), first * 8 <= 127 ? "" : "QC_RANGE");
  std::size_t refused = 0;
  for (const auto& item : whole.items)
    for (std::size_t bit = 0; bit < 8 * item.bytes.size(); ++bit) {
      const auto mask = static_cast<std::uint8_t>(1U << (bit % 8));
      const auto old = std::to_integer<std::uint8_t>(item.bytes[bit / 8]);
      const auto flipped = static_cast<std::uint8_t>(~old);
      refused += code_after(item.name, bit / 8, mask, flipped).empty() ? 0U : 1U;
    }
  EXPECT_GT(refused, 0U);
}

TEST(TenderCheck19, ALayerWithoutMultipliersOrWithOthersIsRefused) {
  const Quantized with(w4a8(64), outlier_rows(9, 200, 8), uneven_weights(6, 200), true);
  const Quantized narrow(w4a8(32), outlier_rows(9, 200, 8), uneven_weights(6, 200), true);
  const Quantized without(w4a8(0), outlier_rows(9, 200, 8), uneven_weights(6, 200), true);
  EXPECT_THROW(Tender::load(with.input, saved(without)), Error);
  EXPECT_THROW(Tender::load(with.input, saved(narrow)), Error);
}

}  // namespace
}  // namespace tender::quant
