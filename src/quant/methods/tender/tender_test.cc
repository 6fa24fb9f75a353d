// The checks of tender.md section 9 that concern this module; numbers in the names are theirs.

#include "quant/methods/tender/tender.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"
#include "quant/memory_parts.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"

namespace tender::quant {
namespace {

constexpr std::array<Isa, 4> kMasks = {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512,
                                       Isa::avx2 | Isa::avx512 | Isa::vnni};
Isa usable(Isa mask) {
  return static_cast<Isa>(static_cast<std::uint32_t>(mask) & static_cast<std::uint32_t>(detected_isa()));
}

std::vector<std::int32_t> positions(std::size_t rows, std::int32_t first = 0) {
  std::vector<std::int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

TenderOptions options(int bits, TenderMode mode, int groups, int chunk_rows) {
  TenderOptions options;
  options.weight_bits = options.activation_bits = bits;
  options.mode = mode;
  options.groups = groups;
  options.chunk_rows = chunk_rows;
  return options;
}

/// A site of one layer, calibrated on x.
struct Quantized {
  Quantized(const TenderOptions& o, const Matrix& x, const Matrix& weights, bool centre, bool nonnegative = false)
      : w(weights.copy()) {
    SiteShape shape;
    shape.in = x.cols();
    shape.outs = {w.rows()};
    shape.centre = centre;
    shape.nonnegative = nonnegative;
    const Tender method(o);
    auto seen = method.calibrate(shape);
    seen.observe({x.view(), positions(x.rows())});
    input = method.input(seen);
    rounding = tender_rounding(input);
    codes = method.quantize(w.view(), input);
  }
  std::vector<std::int16_t> codes_of(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    round_row(rounding, row, position, q);
    return q;
  }
  float step_of(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    return round_row(rounding, row, position, q).step;
  }
  /// Rounded rows as numbers, bias included.
  std::vector<double> rounded(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    const RoundedRow r = round_row(rounding, row, position, q);
    const ChunkRounding& chunk = rounding.chunks[r.chunk];
    std::vector<double> x(input.in);
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] = q[k] * std::exp2(chunk.shift[k]) * static_cast<double>(r.step);
      if (!chunk.bias.empty()) x[k] += static_cast<double>(chunk.bias[k]);
    }
    return x;
  }
  Matrix matmul(const Matrix& x, Isa isa, std::int32_t first = 0) const {
    PackedSiteOf<Tender> site(copy_of(input), packed());
    site.prepare(usable(isa));
    Matrix y(x.rows(), w.rows());
    const std::array outputs = {SiteOutput{y.view(), {}}};
    ThreadPool pool(2);
    const auto at = positions(x.rows(), first);
    site.matmul({x.view(), at}, outputs, pool);
    return y;
  }
  std::vector<TenderPacked> packed() const {
    std::vector<TenderPacked> packed;
    packed.push_back(Tender::pack(codes));
    return packed;
  }
  static TenderInput copy_of(const TenderInput& input) {
    MemoryParts parts;
    save_tender_input(input, parts);
    return load_tender_input(parts);
  }

  Matrix w;
  TenderInput input;
  RowRounding rounding;
  TenderCodes codes;
};

Matrix matrix(std::size_t rows, std::size_t cols, std::initializer_list<float> values) {
  Matrix m(rows, cols);
  std::copy(values.begin(), values.end(), m.span().begin());
  return m;
}

/// Rows with `outliers` channels that are 50 times larger, each channel with an offset of its own.
Matrix outlier_rows(std::size_t rows, std::size_t in, std::uint64_t seed, bool offsets = true) {
  Rng rng(seed, "outliers");
  std::vector<float> offset(in);
  for (float& value : offset) value = rng.normal();
  Matrix x(rows, in);
  for (std::size_t m = 0; m < rows; ++m)
    for (std::size_t k = 0; k < in; ++k) {
      const float reach = k % 16 == 5 ? 50.0F : 0.25F * static_cast<float>(1 + k % 8);
      x(m, k) = reach * (rng.normal() + (offsets ? 2 * offset[k] : 0.0F));
    }
  return x;
}

Matrix random_weights(std::size_t out, std::size_t in, std::uint64_t seed = 3) {
  Rng rng(seed, "weights");
  Matrix w(out, in);
  for (float& value : w.span()) value = 0.05F * rng.normal();
  return w;
}

Matrix golden_rows() {
  return matrix(3, 6, {29, 12, 7.5, 7.5, 3, 12.5, -27, -16, -6.5, -7.5, 3, 7.5, 13, 4, 3.5, 2, 3, 11.5});
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
  EXPECT_EQ(q.codes.weights.codes, (std::vector<std::int8_t>{1, 2, -3, 7, 5, -2, -7, 3, 4, 0, -1, 6}));
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
  const std::array<std::array<std::array<int, 2>, 3>, 3> expected = {{{{{7, -49}, {56, -77}, {87, -114}}},
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
    const Quantized q(options(4, TenderMode::static_scales, 3, chunk_rows), x, golden_weights(), true);
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
      // five roundings in float32: of TMax / 127, the sum, the product of the scales, and with the sum
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

TEST(TenderCheck7, OnItsCalibrationRowsAValueMovesByHalfTheScaleOfItsGroupAtMost) {
  const Matrix x = outlier_rows(64, 80, 5);
  for (const int bits : {4, 8})
    for (const int groups : {1, 3, 8, 14}) {
      const Quantized q(options(bits, TenderMode::static_scales, groups, 0), x, random_weights(4, 80), true);
      const ChunkRounding& chunk = q.rounding.chunks[0];
      for (std::size_t m = 0; m < x.rows(); ++m) {
        const auto rounded = q.rounded(x.row(m));
        for (std::size_t k = 0; k < 80; ++k) {
          const double scale = static_cast<double>(chunk.unit) * std::exp2(chunk.shift[k]);
          // four roundings of float32 on the way to a code of at most 127 move it by 4 * 127 ulp / 2
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
      cmax = std::max(cmax, std::abs(static_cast<double>(x(m, k)) - static_cast<double>(q.input.bias[k])));
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
  const Quantized q(options(8, TenderMode::static_scales, 5, kChunk), x, random_weights(4, 48), true);
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
        while (halvings < 4 && cmax[k] <= tmax * static_cast<float>(std::exp2(-halvings - 1))) ++halvings;
        const float multiplier = 127 / tmax * static_cast<float>(std::exp2(halvings));
        ASSERT_EQ(codes[k], std::lrint((x(m, k) - bias[k]) * multiplier)) << m << " " << k;
      }
    }
  }
}

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

TEST(TenderCheck10, DamagedMetadataIsRefusedByNameOfTheTrouble) {
  const Quantized q(options(8, TenderMode::static_scales, 5, 8), outlier_rows(24, 48, 11), random_weights(4, 48), true);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto set = [&](std::string_view name, auto value) {
    return code_after(q, [&](auto& item) { if (item.name == name) set_first(item, value); });
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
    EXPECT_EQ(code_after(q, [&](auto& item) {
                const std::int32_t huge = 1 << 30;
                if (item.name == "tender_meta") std::memcpy(item.bytes.data() + 4 * i, &huge, sizeof huge);
              }), "QC_RANGE") << "number " << i;
  // chunks without positions per chunk
  EXPECT_EQ(code_after(q, [&](auto& item) {
              const std::int32_t none = 0;
              if (item.name == "tender_meta") std::memcpy(item.bytes.data() + 12, &none, sizeof none);
            }), "QC_RANGE");
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
        item.bytes[bits == 4 ? 16 : 0] = static_cast<std::byte>(bits == 6 ? 32 : bits == 4 ? 0x10 : 0x04);
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
      EXPECT_TRUE(std::equal(y.span().begin(), y.span().end(), whole.row(m).begin())) << "position " << m;
    }
  }
}

/// Weights and rows whose sums reach far beyond 2^31: nearly all channels in the top of many groups.
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
        const float value = k % 64 == 9 ? 0.02F : m < 3 ? 100.0F : static_cast<float>(40 + rng.below(60));
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
        const IntegerWeights weights{q.codes.weights.shape, q.codes.weights.codes, q.codes.weights.scales, {}};
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
            const auto& shift = q.rounding.chunks[q.rounding.chunk_of(static_cast<std::int32_t>(m))].shift;
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
  RowRounding rounding{.in = 2, .low = -127, .high = 127, .by_row = true, .chunk_rows = 0, .chunks = {ChunkRounding{}}};
  rounding.chunks[0].shift = {17, 0};
  const std::vector<float> scales = {1};
  const auto fits = [&](std::vector<std::int8_t> codes) {
    return sums_fit_32_bits(rounding, {{1, codes.size()}, codes, scales, {}});
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
  EXPECT_EQ(q.codes_of(beyond), (std::vector<std::int16_t>{127, -128, 127, -128, -128, 126, -128, 127}));

  for (const float value : {0.0F, 1e-40F, 1e-30F}) {  // zero, denormal, below what is told from zero
    Matrix tiny(2, 8);
    for (float& each : tiny.span()) each = value;
    const Quantized zero(options(8, TenderMode::static_scales, 8, 0), tiny, random_weights(2, 8), false);
    EXPECT_EQ(zero.codes_of(x.row(0)), std::vector<std::int16_t>(8, 0)) << value;
    const Matrix y = zero.matmul(x, host_isa());
    for (const float result : y.span()) EXPECT_EQ(result, 0.0F);
  }
}

TEST(TenderCheck13, UnsignedCodesReach255AndNegativeValuesClampToZero) {
  Matrix x = matrix(2, 4, {255, 100.5, 3.5, 0, 0, 1, 2, 250});
  const Quantized q(options(8, TenderMode::static_scales, 1, 0), x, random_weights(2, 4), false, true);
  ASSERT_TRUE(q.input.is_unsigned);
  EXPECT_EQ(q.codes_of(x.row(0)), (std::vector<std::int16_t>{255, 100, 4, 0}));
  EXPECT_EQ(q.codes_of(std::vector<float>{-3, 300, 0.5, 1.5}), (std::vector<std::int16_t>{0, 255, 0, 2}));
}

/// Mean squared error of the channels, each over its own variance: what small channels suffer counts too.
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
      error.push_back(
          relative_error(Quantized(options(bits, TenderMode::static_scales, groups, 0), x, w, true), x));
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
  const double tensor = relative_error(Quantized(options(8, TenderMode::static_scales, 1, 0), x, w, false), x);
  const double row = relative_error(Quantized(options(8, TenderMode::row_scaled, 1, 0), x, w, false), x);
  const double groups = relative_error(Quantized(options(8, TenderMode::static_scales, 8, 0), x, w, false), x);
  EXPECT_GT(row, tensor / 10);
  EXPECT_LT(groups, tensor / 100);
}

TEST(TenderCheck16, WithARowFactorOfOneItEqualsStaticMode) {
  Matrix x = outlier_rows(16, 40, 16, false);
  for (float& value : x.span()) value = std::clamp(value, -126.0F, 126.0F);
  for (std::size_t m = 0; m < 16; ++m) x(m, 5) = m % 2 == 0 ? 127.0F : -127.0F;  // every row reaches TMax
  const Matrix w = random_weights(20, 40);
  const Quantized fixed(options(8, TenderMode::static_scales, 8, 0), x, w, false);
  const Quantized scaled(options(8, TenderMode::row_scaled, 8, 0), x, w, false);
  for (std::size_t m = 0; m < 16; ++m) EXPECT_EQ(fixed.codes_of(x.row(m)), scaled.codes_of(x.row(m)));
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
        const double slack = scale * 127 * 8 * 0x1p-24 + std::abs(static_cast<double>(row[k])) * 0x1p-23;
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

TEST(Tender, DefaultsFollowTheBitsAndTheMode) {
  const auto resolved = [](const Json& json) { return write_options(read_options<TenderOptions>("tender", json)); };
  EXPECT_EQ(resolved(Json::object()), (Json{{"weight_bits", 8}, {"activation_bits", 8}, {"mode", "row-scaled"},
                                            {"groups", 8}, {"chunk_rows", 0}}));
  EXPECT_EQ(resolved({{"activation_bits", 4}, {"mode", "static"}}),
            (Json{{"weight_bits", 8}, {"activation_bits", 4}, {"mode", "static"}, {"groups", 14}, {"chunk_rows", 256}}));
  EXPECT_EQ(resolved({{"mode", "static"}, {"chunk_rows", 0}})["chunk_rows"], 0);
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
