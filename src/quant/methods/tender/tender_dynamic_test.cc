// Mode dynamic: metadata from the rows of the chunk itself. Numbers in the names are those of the
// checks of tender.md section 9.

#include "quant/methods/tender/tender_dynamic.h"

#include <gtest/gtest.h>

#include "quant/methods/tender/tender_test_support.h"

namespace tender::quant {
namespace {

using namespace tender_test;

TenderOptions dynamic(int bits, int groups, int chunk_rows, bool bias) {
  TenderOptions o = options(bits, TenderMode::dynamic, groups, chunk_rows);
  if (bias) o.bias = TenderBias::dynamic;
  return o;
}

/// By what each row of x is rounded.
std::vector<ChunkOfRows> chunks_of(const Quantized& q, const Matrix& x, std::int32_t first = 0) {
  ThreadPool pool(2);
  const auto at = positions(x.rows(), first);
  return tender_chunks(q.input, {x.view(), at}, pool);
}

std::vector<float> values(const Matrix& y) { return {y.span().begin(), y.span().end()}; }

TEST(TenderDynamic, AChunkEndsWhereItsRowsDoOrWherePositionsDoNotGoOn) {
  const auto runs = [](std::vector<std::int32_t> at, std::size_t rows) {
    return chunk_runs(at, rows);
  };
  EXPECT_EQ(runs({}, 4), (std::vector<ChunkRun>{}));
  EXPECT_EQ(runs({0, 1, 2, 3, 4, 5}, 4), (std::vector<ChunkRun>{{0, 4}, {4, 6}}));
  EXPECT_EQ(runs({2, 3, 4, 5, 6, 7, 8}, 4), (std::vector<ChunkRun>{{0, 2}, {2, 6}, {6, 7}}))
      << "by absolute position";
  EXPECT_EQ(runs({0, 1, 2, 0, 1}, 4), (std::vector<ChunkRun>{{0, 3}, {3, 5}})) << "two sequences";
  EXPECT_EQ(runs({5, 5, 7}, 4), (std::vector<ChunkRun>{{0, 1}, {1, 2}, {2, 3}})) << "decode";
  EXPECT_EQ(runs({0, 1, 2, 3, 4, 0}, 0), (std::vector<ChunkRun>{{0, 5}, {5, 6}}));
}

TEST(TenderCheck1, TheGoldenExampleComesOutOfTheChunkItselfWithItsBias) {
  const Matrix x = matrix(
      3, 6, {29, 12, 7.5, 7.5, 3, 12.5, -27, -16, -6.5, -7.5, 3, 7.5, 13, 4, 3.5, 2, 3, 11.5});
  const Matrix w = matrix(2, 6, {1, 2, -3, 7, 5, -2, -7, 3, 4, 0, -1, 6});
  const Quantized q(dynamic(4, 3, 3, true), x, w, true);
  EXPECT_TRUE(q.input.tmax.empty());
  EXPECT_TRUE(q.codes.compensation.empty());
  const auto chunks = chunks_of(q, x);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].rounding.chunks[0].bias, (std::vector<float>{1, -2, 0.5, 0, 3, 10}));
  EXPECT_EQ(chunks[0].rounding.chunks[0].shift, (std::vector<std::uint8_t>{2, 1, 0, 1, 0, 0}));
  const std::vector<float> expected = {77.5, -68, -96.5, 160, 15.5, 4};
  for (const Isa isa : kMasks) EXPECT_EQ(values(q.matmul(x, isa)), expected) << to_string(isa);
  MatrixOf<double> y(3, 2);
  const auto at = positions(3);
  Tender::reference(q.input, q.packed()[0], {x.view(), at}, y.view());
  EXPECT_EQ(std::vector<float>(y.span().begin(), y.span().end()), expected);
}

TEST(TenderCheck9, StaticEqualsDynamicWhenCalibratedOnTheOneSequenceThatIsEvaluated) {
  const Matrix x = outlier_rows(40, 72, 31);
  const Matrix w = random_weights(17, 72);
  for (const int bits : {4, 8})
    for (const int groups : {1, 8, 14})
      for (const bool bias : {false, true}) {
        const Quantized fixed(options(bits, TenderMode::static_scales, groups, 16), x, w, bias);
        const Quantized own(dynamic(bits, groups, 16, bias), x, w, bias);
        const auto chunks = chunks_of(own, x);
        ASSERT_EQ(chunks.size(), 3U);
        std::vector<std::int16_t> codes(72);
        for (const ChunkOfRows& chunk : chunks)
          for (std::size_t m = chunk.begin; m < chunk.end; ++m) {
            const RoundedRow row = round_row(chunk.rounding, x.row(m), 0, codes);
            const auto at = static_cast<std::int32_t>(m);
            ASSERT_EQ(codes, fixed.codes_of(x.row(m), at)) << "row " << m;
            EXPECT_EQ(row.step, fixed.step_of(x.row(m), at));
          }
        for (const Isa isa : kMasks)
          EXPECT_EQ(values(own.matmul(x, isa)), values(fixed.matmul(x, isa))) << to_string(isa);
      }
}

TEST(TenderCheck7, InDynamicModeNothingIsClippedAndAValueMovesByHalfTheScaleOfItsGroupAtMost) {
  const Matrix x = outlier_rows(48, 80, 32);
  for (const int bits : {4, 8})
    for (const int groups : {1, 3, 8, 14}) {
      const Quantized q(dynamic(bits, groups, 16, true), x, random_weights(4, 80), true);
      const int high = tender_highest_code(q.input);
      for (const ChunkOfRows& chunk : chunks_of(q, x)) {
        const ChunkRounding& own = chunk.rounding.chunks[0];
        std::vector<std::int16_t> codes(80);
        for (std::size_t m = chunk.begin; m < chunk.end; ++m) {
          round_row(chunk.rounding, x.row(m), 0, codes);
          for (std::size_t k = 0; k < 80; ++k) {
            EXPECT_LE(std::abs(int{codes[k]}), high);
            const double scale = static_cast<double>(own.unit) * std::exp2(own.shift[k]);
            const double value = codes[k] * scale + static_cast<double>(own.bias[k]);
            // as in the same check of static mode
            EXPECT_LE(std::abs(static_cast<double>(x(m, k)) - value),
                      scale / 2 + scale * 4 * 127 * 0x1p-24);
          }
        }
      }
    }
}

TEST(TenderCheck7, InDynamicModeTheErrorOfEveryChunkFallsWithTheGroups) {
  const Matrix x = outlier_rows(64, 96, 33);
  const Matrix w = random_weights(4, 96);
  const auto error_of = [&](int groups, std::size_t which) {
    const Quantized q(dynamic(4, groups, 32, true), x, w, true);
    const ChunkOfRows chunk = chunks_of(q, x).at(which);
    std::vector<std::int16_t> codes(96);
    std::vector<float> rounded(96);
    double error = 0;
    for (std::size_t m = chunk.begin; m < chunk.end; ++m) {
      const RoundedRow row = round_row(chunk.rounding, x.row(m), 0, codes);
      expand_row(chunk.rounding, row, codes, rounded);
      for (std::size_t k = 0; k < 96; ++k) {
        const float centred = x(m, k) - chunk.rounding.chunks[0].bias[k];
        error += std::pow(static_cast<double>(centred) - static_cast<double>(rounded[k]), 2);
      }
    }
    return error;
  };
  for (const std::size_t chunk : {0U, 1U}) {
    EXPECT_GT(error_of(1, chunk), 1.5 * error_of(4, chunk));
    EXPECT_GE(error_of(4, chunk), error_of(14, chunk));
  }
}

TEST(TenderCheck6, ADynamicChunkIsIndependentOfTheOthersAndOfTheRowsOfOtherSequences) {
  Matrix x = outlier_rows(12, 40, 34);
  const Matrix w = random_weights(10, 40);
  const Quantized q(dynamic(8, 8, 4, true), x, w, true);
  const Matrix y = q.matmul(x, host_isa());
  Matrix other = x.copy();
  for (std::size_t k = 0; k < 40; ++k) other(6, k) *= 30;  // a row of chunk 1
  const Matrix z = q.matmul(other, host_isa());
  for (const std::size_t m : {0U, 1U, 2U, 3U, 8U, 9U, 10U, 11U})
    EXPECT_TRUE(std::equal(y.row(m).begin(), y.row(m).end(), z.row(m).begin())) << "row " << m;
  EXPECT_FALSE(std::equal(y.row(5).begin(), y.row(5).end(), z.row(5).begin()));

  const Matrix far = q.matmul(x, host_isa(), 5000);  // chunks have no last one to fall back on
  EXPECT_EQ(values(far), values(y));
}

TEST(TenderCheck8, TheBiasOfTheChunkIsAddedBackThroughTheUnquantizedWeights) {
  const Matrix x = outlier_rows(24, 60, 35);
  const Matrix w = random_weights(9, 60);
  const Quantized q(dynamic(8, 8, 8, true), x, w, true);
  const Matrix y = q.matmul(x, host_isa());
  std::vector<std::int16_t> codes(60);
  std::vector<float> rounded(60);
  for (const ChunkOfRows& chunk : chunks_of(q, x))
    for (std::size_t m = chunk.begin; m < chunk.end; ++m) {
      const RoundedRow row = round_row(chunk.rounding, x.row(m), 0, codes);
      expand_row(chunk.rounding, row, codes, rounded);
      for (std::size_t n = 0; n < 9; ++n) {
        double sum = 0, magnitude = 0;
        for (std::size_t k = 0; k < 60; ++k) {
          const double code = q.codes.weights.codes[n * 60 + k];
          const double centred = static_cast<double>(rounded[k]) * code *
                                 static_cast<double>(q.codes.weights.scales[n]);
          const double bias =
              static_cast<double>(chunk.rounding.chunks[0].bias[k]) * static_cast<double>(w(n, k));
          sum += centred + bias;
          magnitude += std::abs(centred) + std::abs(bias);
        }
        EXPECT_NEAR(static_cast<double>(y(m, n)), sum, 8 * 0x1p-24 * magnitude);
      }
    }
}

TEST(TenderDynamic, WithItsBiasARowAloneIsAllBiasAndWithoutOneItIsRounded) {
  const Matrix x = outlier_rows(1, 30, 36);
  const Matrix w = random_weights(3, 30);
  const Matrix y = Quantized(dynamic(4, 8, 8, true), x, w, true).matmul(x, host_isa());
  const Matrix z = Quantized(dynamic(4, 8, 8, false), x, w, true).matmul(x, host_isa());
  for (std::size_t n = 0; n < 3; ++n) {
    double exact = 0;
    for (std::size_t k = 0; k < 30; ++k)
      exact += static_cast<double>(x(0, k)) * static_cast<double>(w(n, k));
    EXPECT_EQ(y(0, n), static_cast<float>(exact));
    EXPECT_NE(z(0, n), static_cast<float>(exact));
  }
}

TEST(TenderDynamic, TheUnquantizedWeightsAreStoredForTheBiasAloneAndCounted) {
  const Matrix x = outlier_rows(8, 32, 37);
  const Matrix w = random_weights(6, 32);
  const auto without = Quantized(dynamic(8, 8, 8, false), x, w, true);
  const auto with = Quantized(dynamic(8, 8, 8, true), x, w, true);
  EXPECT_EQ(Tender::bytes(with.packed()[0]), Tender::bytes(without.packed()[0]) + 6 * 32 * 4);
  MemoryParts parts;
  Tender::save(with.packed()[0], parts);
  EXPECT_EQ(Tender::load(with.input, parts).original, with.codes.original);
  for (auto& item : parts.items)
    if (item.name == "tender_original") item.shape = {6, 31};
  EXPECT_THROW(Tender::load(with.input, parts), Error);
  // codes, groups of 3 bits and a bias of 32 for each channel of 8 rows, TMax for all of them
  EXPECT_DOUBLE_EQ(Tender::activation_bits(with.input), 8 + (3 + 32 + 32.0 / 32) / 8);
  EXPECT_DOUBLE_EQ(Tender::activation_bits(without.input), 8 + (3 + 32.0 / 32) / 8);
  EXPECT_EQ(Tender::describe(with.input),
            "dynamic, 8 groups, chunks of 8 positions, bias of the chunk");
}

TEST(TenderDynamic, ItsOptionsHaveDefaultsAndTheBiasOfAChunkBelongsToItAlone) {
  const Json all = write_options(read_options<TenderOptions>("tender", {{"mode", "dynamic"}}));
  EXPECT_EQ(all["chunk_rows"], 256);
  EXPECT_EQ(all["bias"], "by-mode");
  for (const char* mode : {"static", "row-scaled", "one-row", "auto"}) try {
      read_options<TenderOptions>("tender", {{"mode", mode}, {"bias", "dynamic"}});
      FAIL() << mode;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "OPTION_VALUE");
    }
}

TEST(TenderCheck10, DamagedMetadataOfDynamicModeIsRefused) {
  const Quantized q(dynamic(8, 5, 8, true), outlier_rows(8, 48, 38), random_weights(4, 48), true);
  const auto code_with = [&](std::size_t place, std::int32_t number) -> std::string {
    MemoryParts parts;
    save_tender_input(q.input, parts);
    std::memcpy(parts.items.at(0).bytes.data() + 4 * place, &number, sizeof number);
    try {
      load_tender_input(parts);
    } catch (const Error& error) {
      return error.code();
    }
    return "";
  };
  EXPECT_EQ(code_with(9, 0), "");
  EXPECT_EQ(code_with(9, 2), "QC_RANGE");
  EXPECT_EQ(code_with(10, 2), "QC_RANGE");
  EXPECT_EQ(code_with(4, 0), "QC_RANGE") << "so many numbers are of dynamic mode or compat";
  EXPECT_EQ(code_with(4, 4), "QC_RANGE");
  EXPECT_EQ(code_with(5, 1), "QC_RANGE") << "unsigned codes have no bias";
  EXPECT_EQ(code_with(6, 0), "QC_RANGE");
}

}  // namespace
}  // namespace tender::quant
