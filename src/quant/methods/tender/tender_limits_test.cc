// Damaged files, chunks and positions, sums beyond 32 bits, ends of the range, row scaling.
// Numbers in the names are those of the checks of tender.md section 9.

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

template <class Damage>
std::string code_after(const Quantized& q, Damage&& damage) {
  MemoryParts parts;
  save_tender_input(q.input, parts);
  for (auto& item : parts.items) damage(item);
  try {
    load_tender_input(parts);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::corrupt_file);
    return error.code();
  }
  return "";
}

template <class T>
void set_first(MemoryParts::Item& item, T value) {
  std::memcpy(item.bytes.data(), &value, sizeof value);
}

// An order of channels is not stored: it follows from their groups.
TEST(TenderCheck10, DamagedMetadataIsRefusedByNameOfTheTrouble) {
  const Quantized q(options(8, TenderMode::static_scales, 5, 8), outlier_rows(24, 48, 11),
                    random_weights(4, 48), true);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto set = [&](std::string_view name, auto value) {
    return code_after(q, [&](auto& item) {
      if (item.name == name) set_first(item, value);
    });
  };
  EXPECT_EQ(set("tender_groups", std::uint8_t{4}), "");
  EXPECT_EQ(set("tender_groups", std::uint8_t{5}), "QC_GIDX");
  EXPECT_EQ(set("tender_tmax", kNan), "QC_SCALE");
  EXPECT_EQ(set("tender_tmax", -1.0F), "QC_SCALE");
  EXPECT_EQ(set("tender_tmax", std::numeric_limits<float>::infinity()), "QC_SCALE");
  EXPECT_EQ(set("tender_bias", kNan), "QC_RANGE");
  EXPECT_EQ(set("tender_meta", std::int32_t{1}), "QC_RANGE");
  EXPECT_EQ(set("tender_meta", std::int32_t{9}), "QC_RANGE");
  for (std::size_t i = 1; i < 6; ++i)
    EXPECT_EQ(code_after(q,
                         [&](auto& item) {
                           const std::int32_t huge = 1 << 30;
                           if (item.name == "tender_meta")
                             std::memcpy(item.bytes.data() + 4 * i, &huge, sizeof huge);
                         }),
              "QC_RANGE")
        << "number " << i;
  // chunks without positions per chunk
  EXPECT_EQ(code_after(q,
                       [&](auto& item) {
                         const std::int32_t none = 0;
                         if (item.name == "tender_meta")
                           std::memcpy(item.bytes.data() + 12, &none, sizeof none);
                       }),
            "QC_RANGE");
}

TEST(TenderCheck10, CodesOutsideTheirBitsAreRefused) {
  TenderOptions o = options(8, TenderMode::static_scales, 5, 0);
  const Matrix x = outlier_rows(8, 33, 12);
  for (const int bits : {3, 4, 6}) {
    o.weight_bits = bits;
    const Quantized q(o, x, random_weights(4, 33), true);
    MemoryParts parts;
    Tender::save(q.packed()[0], parts);
    EXPECT_NO_THROW(Tender::load(q.input, parts));
    for (auto& item : parts.items)
      if (item.name == "tender_codes")  // 4-bit codes use every nibble but the one past an odd row
        item.bytes[bits == 4 ? 16 : 0] = static_cast<std::byte>(bits == 6   ? 32
                                                                : bits == 4 ? 0x10
                                                                            : 0x04);
    try {
      Tender::load(q.input, parts);
      FAIL() << bits << " bits";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "QC_RANGE");
    }
  }
}

TEST(TenderCheck11, DecodeGivesTheBitsOfPrefillAtEveryPositionAcrossChunks) {
  const Matrix x = outlier_rows(300, 40, 13);
  const Matrix w = random_weights(20, 40);
  for (const TenderMode mode : {TenderMode::static_scales, TenderMode::row_scaled}) {
    const Quantized q(options(8, mode, 8, 128), x, w, true);
    const Matrix whole = q.matmul(x, host_isa());
    for (const std::size_t m : {0U, 1U, 127U, 128U, 200U, 255U, 256U, 299U}) {
      Matrix one(1, 40);
      std::copy_n(x.row(m).begin(), 40, one.row(0).begin());
      const Matrix y = q.matmul(one, host_isa(), static_cast<std::int32_t>(m));
      EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), whole.row(m).begin()))
          << "position " << m;
    }
  }
}

/// Weights and rows whose sums reach far beyond 2^31: nearly all channels in the top of many
/// groups.
struct Overflowing {
  Overflowing(bool nonnegative, int chunk_rows, TenderMode mode)
      : x(6, 1024), quantized(make(nonnegative, chunk_rows, mode)) {}
  Quantized make(bool nonnegative, int chunk_rows, TenderMode mode) {
    Rng rng(14, "overflow");
    Matrix w(9, 1024);
    for (std::size_t k = 0; k < 1024; ++k) {
      for (std::size_t n = 0; n < 9; ++n)
        w(n, k) = n == 0 ? 1.0F : n == 1 ? -1.0F : rng.below(2) == 0 ? 1.0F : -0.5F;
      for (std::size_t m = 0; m < 6; ++m) {
        const float value = k % 64 == 9 ? 0.02F
                            : m < 3     ? 100.0F
                                        : static_cast<float>(40 + rng.below(60));
        x(m, k) = nonnegative || m % 2 == 0 ? value : -value;
      }
    }
    return {options(8, mode, 14, chunk_rows), x, w, false, nonnegative};
  }
  Matrix x;
  Quantized quantized;
};

TEST(TenderCheck12, WhereThirtyTwoBitsWouldOverflowTheSumIsStillExactAndSaysSo) {
  for (const bool nonnegative : {false, true})
    for (const TenderMode mode : {TenderMode::static_scales, TenderMode::row_scaled})
      for (const int chunk_rows : {0, 3}) {
        const Overflowing problem(nonnegative, chunk_rows, mode);
        const Quantized& q = problem.quantized;
        const SymmetricBytes stored = pack_symmetric(q.codes.weights);
        const IntegerWeights weights{stored.shape, stored.codes(), stored.scales, {}};
        ASSERT_FALSE(sums_fit_32_bits(q.rounding, weights));
        bool beyond = false;
        for (const Isa isa : kMasks) {
          TenderInput input = Quantized::copy_of(q.input);
          auto packed = q.packed();
          Tender::prepare(input, usable(isa));
          Tender::prepare(input, packed[0], usable(isa));
          EXPECT_GT(packed[0].integers.parts(), 1U);
          EXPECT_NE(Tender::kernel(input, packed[0]).find("accumulators"), std::string::npos);
          const Matrix y = q.matmul(problem.x, isa);
          for (std::size_t m = 0; m < 6; ++m) {
            const auto codes = q.codes_of(problem.x.row(m), static_cast<std::int32_t>(m));
            const float step = q.step_of(problem.x.row(m), static_cast<std::int32_t>(m));
            const auto& shift =
                q.rounding.chunks[q.rounding.chunk_of(static_cast<std::int32_t>(m))].shift;
            for (std::size_t n = 0; n < 9; ++n) {
              std::int64_t sum = 0;
              for (std::size_t k = 0; k < 1024; ++k)
                sum += (std::int64_t{codes[k]} * q.codes.weights.codes[n * 1024 + k]) << shift[k];
              beyond = beyond || std::abs(sum) > std::numeric_limits<std::int32_t>::max();
              EXPECT_EQ(y(m, n), static_cast<float>(sum) * (q.codes.weights.scales[n] * step))
                  << to_string(isa) << " row " << m << " output " << n;
            }
          }
        }
        EXPECT_TRUE(beyond) << "the test must overflow";
      }
}

TEST(TenderCheck12, TheBoundIsExactToTheLastUnit) {
  // 127 * 127 * 2^17 = 2114060288 and 2^31 - 1 = 2147483647
  RowRounding rounding{.in = 2,
                       .low = -127,
                       .high = 127,
                       .by_row = true,
                       .chunk_rows = 0,
                       .chunks = {ChunkRounding{}}};
  rounding.chunks[0].shift = {17, 0};
  const std::vector<float> scales = {1};
  const auto fits = [&](std::vector<std::int8_t> codes) {
    const SymmetricBytes stored =
        pack_symmetric({{1, codes.size()}, 8, 0, std::move(codes), scales});
    return sums_fit_32_bits(rounding, {stored.shape, stored.codes(), scales, {}});
  };
  EXPECT_TRUE(fits({127, 127}));
  EXPECT_TRUE(fits({-127, 127}));
  rounding.chunks[0].shift = {18, 0};
  EXPECT_FALSE(fits({127, 0}));
  rounding.chunks[0].shift = {18, 0};
  EXPECT_TRUE(fits({64, 0}));   // 127 * 64 * 2^18 = 2130706432 < 2^31
  EXPECT_FALSE(fits({65, 0}));  // 127 * 65 * 2^18 = 2163998720
  EXPECT_TRUE(fits({64, 127}));
}

TEST(TenderCheck13, TiesRoundToEvenBothEndsClampAndAZeroChunkGivesZeroCodes) {
  // TMax 127 and one group: the step is 1 and codes are the rounded values.
  Matrix x = matrix(2, 8, {127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0, -127, 0, 0, 0, 0, 0, 0, 0});
  const Quantized q(options(8, TenderMode::static_scales, 1, 0), x, random_weights(2, 8), false);
  EXPECT_EQ(q.codes_of(x.row(0)), (std::vector<std::int16_t>{127, 0, 2, 2, 0, -2, -2, 0}));
  const std::vector<float> beyond = {500, -500, 127.5, -127.5, -128.5, 126.5, -1e30F, 1e30F};
  EXPECT_EQ(q.codes_of(beyond),
            (std::vector<std::int16_t>{127, -128, 127, -128, -128, 126, -128, 127}));

  for (const float value :
       {0.0F, 1e-40F, 1e-30F}) {  // zero, denormal, below what is told from zero
    Matrix tiny(2, 8);
    for (float& each : tiny.span()) each = value;
    const Quantized zero(options(8, TenderMode::static_scales, 8, 0), tiny, random_weights(2, 8),
                         false);
    EXPECT_EQ(zero.codes_of(x.row(0)), std::vector<std::int16_t>(8, 0)) << value;
    const Matrix y = zero.matmul(x, host_isa());
    for (const float result : y.span()) EXPECT_EQ(result, 0.0F);
  }
}

TEST(TenderCheck13, UnsignedCodesReach255AndNegativeValuesClampToZero) {
  Matrix x = matrix(2, 4, {255, 100.5, 3.5, 0, 0, 1, 2, 250});
  const Quantized q(options(8, TenderMode::static_scales, 1, 0), x, random_weights(2, 4), false,
                    true);
  ASSERT_TRUE(q.input.is_unsigned);
  EXPECT_EQ(q.codes_of(x.row(0)), (std::vector<std::int16_t>{255, 100, 4, 0}));
  EXPECT_EQ(q.codes_of(std::vector<float>{-3, 300, 0.5, 1.5}),
            (std::vector<std::int16_t>{0, 255, 0, 2}));
}

TEST(TenderCheck16, WithARowFactorOfOneItEqualsStaticMode) {
  Matrix x = outlier_rows(16, 40, 16, false);
  for (float& value : x.span()) value = std::clamp(value, -126.0F, 126.0F);
  for (std::size_t m = 0; m < 16; ++m)
    x(m, 5) = m % 2 == 0 ? 127.0F : -127.0F;  // every row reaches TMax
  const Matrix w = random_weights(20, 40);
  const Quantized fixed(options(8, TenderMode::static_scales, 8, 0), x, w, false);
  const Quantized scaled(options(8, TenderMode::row_scaled, 8, 0), x, w, false);
  for (std::size_t m = 0; m < 16; ++m)
    EXPECT_EQ(fixed.codes_of(x.row(m)), scaled.codes_of(x.row(m)));
  const Matrix y = fixed.matmul(x, host_isa()), z = scaled.matmul(x, host_isa());
  EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), z.span().begin()));
}

TEST(TenderCheck16, NoCodeIsEverClippedWhateverTheRow) {
  const Matrix x = outlier_rows(16, 40, 17);
  const Quantized q(options(8, TenderMode::row_scaled, 8, 0), x, random_weights(2, 40), true);
  const ChunkRounding& chunk = q.rounding.chunks[0];
  for (const float by : {1e-3F, 1.0F, 1e3F, 1e20F}) {
    for (std::size_t m = 0; m < 16; ++m) {
      std::vector<float> row(x.row(m).begin(), x.row(m).end());
      for (float& value : row) value *= by;
      const auto rounded = q.rounded(row);
      const double step = q.step_of(row);
      for (std::size_t k = 0; k < 40; ++k) {
        const double scale = step * std::exp2(chunk.shift[k]);
        // half a step, and float32 roundings of u, the factor, their product, the step and x - bias
        const double slack =
            scale * 127 * 8 * 0x1p-24 + std::abs(static_cast<double>(row[k])) * 0x1p-23;
        EXPECT_LE(std::abs(static_cast<double>(row[k]) - rounded[k]), scale / 2 + slack) << by;
      }
    }
  }
}

TEST(TenderCheck16, ScalingARowByAPowerOfTwoChangesItsFactorAndNoCode) {
  const Matrix x = outlier_rows(8, 40, 18);
  const Quantized q(options(8, TenderMode::row_scaled, 8, 0), x, random_weights(2, 40), false);
  for (const int j : {-20, -1, 3, 30})
    for (std::size_t m = 0; m < 8; ++m) {
      std::vector<float> row(x.row(m).begin(), x.row(m).end());
      for (float& value : row) value *= static_cast<float>(std::exp2(j));
      EXPECT_EQ(q.codes_of(row), q.codes_of(x.row(m)));
      EXPECT_EQ(q.step_of(row), q.step_of(x.row(m)) * static_cast<float>(std::exp2(j)));
    }
}

TEST(TenderCheck10, ClippedValuesAndRowsPastTheCalibratedPositionsAreCountedOnceForAllThreads) {
  const Matrix x = outlier_rows(24, 48, 51);
  const Matrix w = random_weights(5, 48);
  Matrix loud = x.copy();
  for (std::size_t k = 0; k < 48; ++k) loud(3, k) *= 2;
  for (const int bits : {4, 8}) {
    const Quantized q(options(bits, TenderMode::static_scales, 6, 8), x, w, true);
    const std::int32_t first = 4;  // rows 20 to 23 stand at positions 24 to 27
    const auto at = positions(24, first);
    std::uint64_t clipped = 0;
    for (std::size_t m = 0; m < 24; ++m) {
      const ChunkRounding& chunk = q.rounding.chunks[q.rounding.chunk_of(at[m])];
      for (std::size_t k = 0; k < 48; ++k) {
        const float u = (loud(m, k) - chunk.bias[k]) * chunk.multiplier[k];
        const auto code = std::lrint(u);
        clipped += code > q.rounding.high || code < q.rounding.low ? 1U : 0U;
      }
    }
    ASSERT_GT(clipped, 0U);
    for (const Isa isa : kMasks)
      for (const std::size_t threads : {1U, 3U}) {
        PackedSiteOf<Tender> site(Quantized::copy_of(q.input), q.packed());
        site.prepare(usable(isa));
        EXPECT_EQ(site.counts(), SiteCounts());
        ThreadPool pool(threads);
        Matrix y(24, 5);
        const std::array outputs = {SiteOutput{y.view(), {}}};
        for (const std::uint64_t runs : {1U, 2U}) {
          site.matmul({loud.view(), at}, outputs, pool);
          EXPECT_EQ(site.counts(),
                    (SiteCounts{runs * 24, runs * 24 * 48, runs * clipped, runs * 4}))
              << to_string(isa);
        }
      }
  }
}

TEST(TenderCounts, WhereNothingIsCalibratedNothingIsCountedAndCalibrationRowsAreNotClipped) {
  const Matrix x = outlier_rows(16, 40, 52);
  const Matrix w = random_weights(5, 40);
  for (const TenderMode mode : {TenderMode::static_scales, TenderMode::row_scaled,
                                TenderMode::one_row, TenderMode::dynamic}) {
    const Quantized q(options(8, mode, 6, mode == TenderMode::one_row ? 0 : 8), x, w, false);
    PackedSiteOf<Tender> site(Quantized::copy_of(q.input), q.packed());
    site.prepare(host_isa());
    ThreadPool pool(2);
    Matrix y(16, 5);
    const std::array outputs = {SiteOutput{y.view(), {}}};
    const auto at = positions(16);
    site.matmul({x.view(), at}, outputs, pool);
    const bool counted = mode == TenderMode::static_scales || mode == TenderMode::row_scaled;
    EXPECT_EQ(site.counts(), counted ? (SiteCounts{16, 16 * 40, 0, 0}) : SiteCounts());
  }
}

}  // namespace
}  // namespace tender::quant
