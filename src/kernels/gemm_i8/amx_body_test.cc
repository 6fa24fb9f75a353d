#include "kernels/gemm_i8/amx_body.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "base/rng.h"
#include "kernels/gemm_i8/gemm_i8_test_support.h"
#include "kernels/gemm_i8/store_scalar.h"

namespace tender::kernels {
namespace {

using testing::Product;
using testing::random_segments;

/// The tile instructions in plain C++, as their manual has them.
class EmulatedTiles {
 public:
  template <int I>
  void load_codes(const std::uint8_t* from, std::size_t stride) {
    for (std::size_t r = 0; r < kTileRows; ++r)
      std::memcpy(codes_[I][r], from + r * stride, kTileBytes);
  }
  template <int J>
  void load_weights(const std::uint8_t* from) {
    std::memcpy(weights_[J], from, kTile);
  }
  template <int I, int J>
  void zero() {
    std::memset(sums_[I][J], 0, sizeof sums_[I][J]);
  }
  /// Signed codes meet unsigned weights, unsigned ones signed weights.
  template <int I, int J, bool Signed>
  void multiply() {
    for (std::size_t m = 0; m < kTileRows; ++m)
      for (std::size_t k = 0; k < kTileBytes; ++k)
        for (std::size_t n = 0; n < 16; ++n) {
          const std::uint8_t a = codes_[I][m][k], b = weights_[J][k / 4][4 * n + k % 4];
          const int product =
              Signed ? static_cast<std::int8_t>(a) * b : a * static_cast<std::int8_t>(b);
          sums_[I][J][m][n] += static_cast<std::uint32_t>(product);
        }
  }
  template <int I, int J>
  void store(std::int32_t* to) {
    for (std::size_t m = 0; m < kTileRows; ++m)
      for (std::size_t n = 0; n < 16; ++n)
        to[m * kSumStride + n] = static_cast<std::int32_t>(sums_[I][J][m][n]);
  }
  static void fold(std::int32_t* to, std::uint32_t shift, const std::int32_t* from,
                   std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      std::uint32_t sum = shift < 32 ? static_cast<std::uint32_t>(to[i]) << shift : 0U;
      if (from != nullptr) sum += static_cast<std::uint32_t>(from[i]);
      to[i] = static_cast<std::int32_t>(sum);
    }
  }
  static void finish(const GemmI8Job& job, std::size_t row, std::size_t output,
                     const std::int32_t* sums) {
    for (std::size_t j = 0; j < 16 && has_output(job, output + j); ++j) {
      auto sum = static_cast<std::uint32_t>(sums[j]);
      if (job.corrections != nullptr) sum -= static_cast<std::uint32_t>(job.corrections[row]);
      kernels::store(job, row, output + j, sum);
    }
  }

 private:
  std::uint8_t codes_[2][kTileRows][kTileBytes] = {};
  std::uint8_t weights_[2][kTileQuads][kTileBytes] = {};
  std::uint32_t sums_[2][2][kTileRows][16] = {};
};

void run_emulated(const GemmI8Job& job, std::size_t begin, std::size_t end) {
  EmulatedTiles tiles;
  if (job.codes_signed)
    multiply_tiles<true>(tiles, job, begin, end);
  else
    multiply_tiles<false>(tiles, job, begin, end);
}

/// Segments of some tiles' length, so that whole tiles, rests and folds all occur.
std::vector<Segment> long_segments(Rng& rng) {
  std::vector<Segment> segments;
  std::uint32_t at = 0;
  for (std::uint64_t count = 1 + rng.below(4); count > 0; --count) {
    const auto quads = static_cast<std::uint32_t>(rng.below(60));
    segments.push_back({at, at, quads, static_cast<std::uint32_t>(rng.below(20))});
    at += quads;
  }
  if (at == 0) segments.push_back({0, 0, 16, 1});
  return segments;
}

// Check 2 of tender.md section 9.
TEST(TenderCheck2, SumsInEmulatedTilesEqualThe64BitSumForAnyGroupsRowsAndPanels) {
  Rng rng(31, "amx");
  for (std::uint64_t seed = 0; seed < 60; ++seed)
    for (const bool is_signed : {true, false}) {
      const std::size_t out = 1 + rng.below(90), rows = 1 + rng.below(70);
      const Product p(seed, out, rows, seed % 2 == 0 ? long_segments(rng) : random_segments(rng),
                      CodeWidth::bytes, is_signed, is_signed, seed % 4 < 2);
      GemmI8Job job = p.job();
      const std::size_t panels = p.panels.panels(), columns = panels * 16;
      std::vector<std::int32_t> sums(rows * columns, 0x55555555);
      job.sums = sums.data();
      job.sums_stride = columns;
      const std::size_t cut = rng.below(panels + 1);
      run_emulated(job, 0, cut);
      run_emulated(job, cut, panels);
      for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t n = 0; n < out; ++n)
          ASSERT_EQ(sums[m * columns + n], p.oracle(m, n))
              << "seed " << seed << " row " << m << " output " << n;
    }
}

TEST(AmxBody, DequantizesAsTheDefinitionAndWritesNothingElse) {
  for (const std::size_t rows : {1U, 15U, 16U, 17U, 32U, 33U, 50U})
    for (const std::size_t out : {1U, 16U, 31U, 32U, 49U}) {
      const Product p(rows * out, out, rows, {{0, 0, 21, 0}, {21, 21, 4, 3}}, CodeWidth::bytes,
                      true, true, false);
      GemmI8Job job = p.job();
      job.addends = p.addends.data();
      job.bias = p.bias.data();
      const std::size_t stride = out + 3;
      std::vector<float> y(rows * stride, 77.0F), expected = y;
      job.y_stride = stride;
      job.y = y.data();
      run_emulated(job, 0, p.panels.panels());
      for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t n = 0; n < out; ++n)
          expected[m * stride + n] =
              (static_cast<float>(p.oracle(m, n)) * (p.scales[n] * p.steps[m]) +
               p.addend_values[m][n]) +
              p.bias[n];
      for (std::size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(expected[i]))
            << rows << " rows, " << out << " outputs, at " << i;
    }
}

TEST(AmxBody, PanelsOfASlabAreReadFromItsStart) {
  const Product p(5, 100, 20, {{0, 0, 30, 0}}, CodeWidth::bytes, true, true, false);
  GemmI8Job job = p.job();
  const std::size_t columns = p.panels.panels() * 16;
  std::vector<std::int32_t> sums(20 * columns);
  job.sums = sums.data();
  job.sums_stride = columns;
  job.first_panel = 3;
  job.panels = p.panels.data() + 3 * p.panels.panel_bytes();
  run_emulated(job, 3, p.panels.panels());
  for (std::size_t m = 0; m < 20; ++m)
    for (std::size_t n = 48; n < 100; ++n) EXPECT_EQ(sums[m * columns + n], p.oracle(m, n));
}

}  // namespace
}  // namespace tender::kernels
