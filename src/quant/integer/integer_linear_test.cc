#include "quant/integer/integer_linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tender::quant {
namespace {

constexpr std::array<Isa, 5> kMasks = {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avxvnni,
                                       Isa::avx2 | Isa::avx512,
                                       Isa::avx2 | Isa::avxvnni | Isa::avx512 | Isa::vnni};

Isa usable(Isa mask) {
  return static_cast<Isa>(static_cast<std::uint32_t>(mask) &
                          static_cast<std::uint32_t>(detected_isa()));
}

/// A random layer of 4-bit codes or of `bits`, rows for it, and the exact sums.
struct Problem {
  struct Kind {
    std::size_t chunks = 1;
    std::uint32_t shifts = 0;  ///< largest
    bool is_signed = true;
    int element_groups = 0;
    std::size_t group = 0;
    bool extreme = false;
    int bits = 4;       ///< of a weight
    int row_bits = 8;   ///< of a code of the rows
    bool bare = false;  ///< scales and steps are 1 and nothing is added: results are the sums
  };

  Problem(std::uint64_t seed, const Kind& kind, LinearShape shape_, std::size_t rows)
      : rng(seed, "integer linear"), shape(shape_), group(kind.group), x(rows, shape_.in) {
    rounding.in = shape.in;
    const int half = 1 << (kind.row_bits - 1), most = (1 << (kind.bits - 1)) - 1;
    rounding.low = kind.is_signed ? -half : 0;
    rounding.high = kind.is_signed ? half - 1 : 2 * half - 1;
    rounding.element_groups = kind.element_groups;
    rounding.by_row = kind.element_groups > 0;
    rounding.chunk_rows = kind.chunks > 1 ? 7 : 0;
    for (std::size_t c = 0; c < kind.chunks; ++c) {
      ChunkRounding& chunk = rounding.chunks.emplace_back();
      chunk.unit = kind.bare ? 1.0F : 0.5F;
      if (kind.shifts == 0) continue;
      for (std::size_t k = 0; k < shape.in; ++k) {
        const std::uint64_t at = rng.below(kind.shifts + std::uint64_t{1});
        // most channels high up, as real ones are
        chunk.shift.push_back(static_cast<std::uint8_t>(
            rng.below(4) == 0 ? at : kind.shifts - std::min<std::uint64_t>(kind.shifts, at / 3)));
      }
      chunk.shift[rng.below(shape.in)] = 0;
      for (const std::uint8_t shift : chunk.shift)
        chunk.multiplier.push_back(std::ldexp(1.0F, -int{shift}));
    }
    for (std::size_t m = 0; m < rows; ++m) {
      positions.push_back(static_cast<std::int32_t>(rng.below(7 * (kind.chunks + 1))));
      const ChunkRounding& chunk = rounding.chunks[rounding.chunk_of(positions[m])];
      for (std::size_t k = 0; k < shape.in; ++k)
        x(m, k) = (kind.extreme ? m % 2 == 0 || !kind.is_signed ? 300.0F : -300.0F
                                : 0.46875F * static_cast<float>(half) * rng.normal()) *
                  std::ldexp(1.0F, chunk.shift.empty() ? 0 : int{chunk.shift[k]});
    }
    const std::size_t groups = group == 0 ? 0 : (shape.in + group - 1) / group;
    for (std::size_t i = 0; i < shape.out * shape.in; ++i) {
      const int code =
          kind.extreme ? (rng.below(20) == 0 ? -most : most)
                       : static_cast<int>(rng.below(2U * static_cast<unsigned>(most) + 1)) - most;
      codes.push_back(static_cast<std::int8_t>(code));
    }
    if (group == 0) codes[0] = static_cast<std::int8_t>(-most - 1);
    for (std::size_t i = 0; i < shape.out * groups; ++i)
      multipliers.push_back(static_cast<std::uint8_t>(1 + rng.below(18)));
    for (std::size_t n = 0; n < shape.out; ++n) scales.push_back(0.01F + 0.001F * rng.normal());
    for (std::size_t i = 0; i < shape.out * kind.chunks; ++i) addends.push_back(rng.normal());
    for (std::size_t n = 0; n < shape.out; ++n) bias.push_back(rng.normal());
    if (!kind.bare) return;
    std::ranges::fill(scales, 1.0F);
    std::ranges::fill(addends, 0.0F);
    std::ranges::fill(bias, 0.0F);
  }

  SymmetricBytes stored(int bits = 4) const {
    return pack_symmetric({shape, bits, group, codes, scales, multipliers});
  }
  IntegerWeights weights(const SymmetricBytes& packed) const {
    return {shape, packed.codes(), scales, addends, multipliers, group};
  }
  int weight(std::size_t n, std::size_t k) const {
    const std::size_t groups = group == 0 ? 0 : (shape.in + group - 1) / group;
    return codes[n * shape.in + k] * (group == 0 ? 1 : multipliers[n * groups + k / group]);
  }

  /// Bit patterns of y. @param bits  8: weights of the same values that are not packed
  std::vector<std::uint32_t> matmul(Isa isa, std::size_t few_rows, bool fold, std::size_t threads,
                                    int bits = 4) const {
    const IntegerRows rows(rounding, isa,
                           {.bits = bits, .group = group, .fold = fold, .few_rows = few_rows});
    const IntegerLinear layer(rows, weights(stored(bits)));
    ThreadPool pool(threads);
    Matrix y(x.rows(), shape.out);
    layer.matmul(rows, rows.round({x.view(), positions}, pool), y.view(), {bias}, pool);
    kernel = layer.kernel(rows);
    std::vector<std::uint32_t> out;
    for (const float value : y.span()) out.push_back(std::bit_cast<std::uint32_t>(value));
    return out;
  }

  /// The same by the definition, in 64 bits.
  std::vector<std::uint32_t> expected() const {
    std::vector<std::uint32_t> out;
    std::vector<std::int16_t> q(shape.in);
    for (std::size_t m = 0; m < x.rows(); ++m) {
      const RoundedRow row = round_row(rounding, x.row(m), positions[m], q);
      const auto& shift = rounding.chunks[row.chunk].shift;
      for (std::size_t n = 0; n < shape.out; ++n) {
        std::int64_t sum = 0;
        for (std::size_t k = 0; k < shape.in; ++k)
          sum += std::int64_t{q[k]} * weight(n, k) *
                 (std::int64_t{1} << (shift.empty() ? 0U : shift[k]));
        largest = std::max(largest, std::abs(sum));
        float y = static_cast<float>(sum) * (scales[n] * row.step);
        y += addends[row.chunk * shape.out + n];
        out.push_back(std::bit_cast<std::uint32_t>(y + bias[n]));
      }
    }
    return out;
  }

  Rng rng;
  LinearShape shape;
  std::size_t group;
  RowRounding rounding;
  Matrix x;
  std::vector<std::int32_t> positions;
  std::vector<std::int8_t> codes;
  std::vector<std::uint8_t> multipliers;
  std::vector<float> scales, addends, bias;
  mutable std::string kernel;
  mutable std::int64_t largest = 0;
};

std::vector<Problem::Kind> kinds() {
  return {{.shifts = 0},
          {.shifts = 4},
          {.shifts = 7},
          {.shifts = 13},
          {.shifts = 7, .is_signed = false},
          {.chunks = 3, .shifts = 6},
          {.chunks = 3, .shifts = 12, .is_signed = false},
          {.element_groups = 8},
          {.shifts = 0, .group = 64},
          {.shifts = 3, .group = 32},
          {.shifts = 9, .is_signed = false, .group = 128},
          {.chunks = 2, .shifts = 5, .group = 64},
          {.element_groups = 8, .group = 64},
          {.shifts = 2, .group = 12}};  // not whole lines: widened to 8 bits
}

constexpr std::size_t kNever = 0, kAlways = 1000;

// Numbers in the names are those of the checks of tender.md section 9.
TEST(TenderCheck3, EveryPathOf4BitWeightsOnEveryIsaGivesTheBitsOfTheDefinition) {
  Rng rng(31, "sizes");
  std::uint64_t seed = 0;
  for (const Problem::Kind& kind : kinds())
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Problem p(++seed, kind, {1 + rng.below(90), 9 + rng.below(200)}, 1 + rng.below(30));
      const auto expected = p.expected();
      for (const Isa mask : kMasks)
        for (const std::size_t few_rows : {kNever, WeightLayout::kFewRows, kAlways})
          for (const bool fold : {true, false})
            ASSERT_EQ(p.matmul(usable(mask), few_rows, fold, 1 + seed % 2), expected)
                << "seed " << seed << ", " << to_string(usable(mask)) << ", " << p.kernel;
    }
}

TEST(TenderCheck3, EveryPathGivesTheSameIntegersBeforeTheyAreScaled) {
  std::uint64_t seed = 300;
  for (const int bits : {4, 8})
    for (const bool is_signed : {true, false})
      for (const std::size_t chunks : {1U, 2U}) {
        const Problem p(++seed,
                        {.chunks = chunks,
                         .shifts = bits == 4 ? 6U : 3U,
                         .is_signed = is_signed,
                         .bits = bits,
                         .bare = true},
                        {35, 61}, 23);
        const auto expected = p.expected();
        ASSERT_LT(p.largest, std::int64_t{1} << 24) << "float32 holds every sum";
        for (const Isa mask : kMasks)
          for (const std::size_t few_rows : {kNever, kAlways})
            for (const std::size_t threads : {1U, 2U})
              for (const int held : {bits, 8})  // 4-bit weights as bytes, too
                ASSERT_EQ(p.matmul(usable(mask), few_rows, true, threads, held), expected)
                    << "seed " << seed << ", " << to_string(usable(mask)) << ", " << p.kernel;
      }
}

TEST(TenderCheck2, TheSumIsThatOfTheGroupsTimesTheirPowersForAnyBitsAndNumberOfGroups) {
  std::uint64_t seed = 400;
  for (const int bits : {4, 8})
    for (const int row_bits : {4, 8})
      for (const bool is_signed : {true, false})
        for (std::uint32_t groups = 1; groups <= 20; ++groups) {
          // 9 channels leave groups empty; neither number of them is one of whole quads
          ++seed;
          const Problem p(seed,
                          {.shifts = groups - 1,
                           .is_signed = is_signed,
                           .extreme = seed % 3 == 0,
                           .bits = bits,
                           .row_bits = row_bits,
                           .bare = true},
                          {5, seed % 2 == 0 ? 9U : 90U}, 4);
          ASSERT_EQ(p.matmul(host_isa(), WeightLayout::kFewRows, true, 1, bits), p.expected())
              << groups << " groups, " << bits << " by " << row_bits << " bits, " << p.kernel;
        }
}

TEST(IntegerLinearOf4Bits, TheSameWeightsIn8BitsGiveTheSameBits) {
  std::uint64_t seed = 100;
  for (const Problem::Kind& kind : kinds()) {
    const Problem p(++seed, kind, {35, 130}, 26);
    const auto packed = p.matmul(host_isa(), kNever, true, 2);
    EXPECT_EQ(p.matmul(host_isa(), kNever, true, 2, 8), packed) << seed << ", " << p.kernel;
  }
}

TEST(IntegerLinearOf4Bits, WhereThirtyTwoBitsWouldOverflowEveryPathIsStillExact) {
  std::uint64_t seed = 200;
  for (const Problem::Kind& kind :
       std::vector<Problem::Kind>{{.shifts = 13, .extreme = true},
                                  {.shifts = 14, .is_signed = false, .extreme = true},
                                  {.chunks = 2, .shifts = 13, .extreme = true},
                                  {.shifts = 10, .group = 64, .extreme = true},
                                  {.element_groups = 8, .group = 64, .extreme = true}}) {
    const Problem p(++seed, kind, {20, 2600}, 9);
    const auto expected = p.expected();
    ASSERT_GT(p.largest, std::int64_t{1} << 31) << "the test must overflow";
    for (const Isa mask : kMasks)
      for (const std::size_t few_rows : {kNever, kAlways}) {
        ASSERT_EQ(p.matmul(usable(mask), few_rows, true, 2), expected)
            << "seed " << seed << ", " << to_string(usable(mask)) << ", " << p.kernel;
        EXPECT_NE(p.kernel.find("accumulators since 32 bits might overflow"), std::string::npos);
      }
  }
}

TEST(IntegerLinearOf4Bits, TheNumberOfRowsChangesNoBit) {
  const Problem p(7, {.shifts = 6, .group = 64}, {50, 576}, 120);
  const auto all = p.matmul(host_isa(), WeightLayout::kFewRows, true, 2);
  const Problem same(7, {.shifts = 6, .group = 64}, {50, 576}, 120);
  EXPECT_EQ(same.matmul(host_isa(), kAlways, true, 1), all);
  EXPECT_EQ(same.expected(), all);
}

TEST(IntegerLinearOf4Bits, TakeHalfAByteEachAndTheBytesOfMultipliers) {
  Problem p(8, {.shifts = 3, .group = 64}, {64, 640}, 1);
  const IntegerRows packed(p.rounding, host_isa(), {.bits = 4, .group = 64});
  const IntegerRows wide(p.rounding, Isa::scalar, {.bits = 8, .group = 64});
  const std::size_t floats = 2 * 64 * sizeof(float);  // scales and addends
  EXPECT_EQ(IntegerLinear(packed, p.weights(p.stored())).bytes(), 64U * 640 / 2 + 64 * 10 + floats);
  EXPECT_GE(IntegerLinear(wide, p.weights(p.stored(8))).bytes(), 64U * 640 + floats);
}

TEST(IntegerRowsOf4Bits, FiveGroupsFoldIntoOneWhereTheyHoldMostChannels) {
  RowRounding rounding{.in = 64, .chunk_rows = 0, .chunks = {ChunkRounding{}}};
  // Shifts 0 … 8 with most channels from 3 to 7.
  for (std::uint8_t k = 0; k < 64; ++k)
    rounding.chunks[0].shift.push_back(static_cast<std::uint8_t>(k < 4    ? k / 2
                                                                 : k > 60 ? 8
                                                                          : 3 + k % 5));
  const Isa vnni = Isa::avx2 | Isa::avx512 | Isa::vnni;
  const IntegerRows rows(rounding, vnni, {.bits = 4});
  ASSERT_EQ(rows.segments().size(), 3U);  // 8; 3 … 7; 0 … 2
  EXPECT_EQ(rows.segments()[0].quads, 1U);
  EXPECT_EQ(rows.segments()[1].quads, 15U);  // 57 channels
  EXPECT_EQ(rows.segments()[1].shift, 5U);   // from the base of the window of 8, 8
  EXPECT_EQ(rows.segments()[2].shift, 3U);
  EXPECT_TRUE(rows.folds());
  const IntegerRows shifted(rounding, vnni, {.bits = 4, .fold = false});
  EXPECT_EQ(shifted.segments().size(), 8U);
  EXPECT_FALSE(shifted.folds());
  const IntegerRows multiplied(rounding, vnni, {.bits = 4, .group = 64});
  EXPECT_EQ(multiplied.segments().size(), 8U) << "code times multiplier leaves no room";
}

}  // namespace
}  // namespace tender::quant
