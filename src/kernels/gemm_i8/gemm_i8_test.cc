#include "kernels/gemm_i8/gemm_i8.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kernels/gemm_i8/gemm_i8_test_support.h"

namespace tender::kernels {

void PrintTo(const GemmI8Kernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::Product;
using testing::random_segments;

class GemmI8Test : public ::testing::TestWithParam<GemmI8Kernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
  Product product(std::uint64_t seed, std::size_t out, std::size_t rows,
                  std::vector<Segment> segments, bool is_signed, bool extreme, int bits = 8) const {
    return {seed,
            out,
            rows,
            std::move(segments),
            GetParam().width,
            is_signed,
            GetParam().offset_panels && is_signed,
            extreme,
            bits};
  }
};

// Numbers in the names are those of the checks of tender.md section 9.
TEST_P(GemmI8Test, TenderCheck2ShiftedSumsEqualThe64BitSumModulo2To32ForAnyGroupsAndExtremeCodes) {
  Rng rng(11, "groups");
  for (std::uint64_t seed = 0; seed < 40; ++seed)
    for (const bool is_signed : {true, false}) {
      if (!is_signed && GetParam().width == CodeWidth::words) continue;  // words are signed
      const std::size_t out = 1 + rng.below(130), rows = 1 + rng.below(27);
      const Product p = product(seed, out, rows, random_segments(rng), is_signed, seed % 2 == 0,
                                seed % 5 < 2 ? 4 : 8);
      GemmI8Job job = p.job();
      const std::size_t columns = p.panels.panels() * 16;
      std::vector<std::int32_t> sums(rows * columns, 0x55555555);
      job.sums = sums.data();
      job.sums_stride = columns;
      GetParam().run(job, 0, p.panels.panels());
      for (std::size_t m = 0; m < rows; ++m)
        for (std::size_t n = 0; n < out; ++n)
          ASSERT_EQ(sums[m * columns + n], p.oracle(m, n))
              << "seed " << seed << " row " << m << " output " << n;
    }
}

TEST_P(GemmI8Test, PlanesThatReadOnePanelTwiceAddUp) {
  const Product p = product(3, 33, 5, {{0, 0, 7, 0}, {7, 0, 7, 9}}, true, false);
  std::vector<std::int32_t> sums(5 * 48);
  GemmI8Job job = p.job();
  job.sums = sums.data();
  job.sums_stride = 48;
  GetParam().run(job, 0, 3);
  for (std::size_t m = 0; m < 5; ++m)
    for (std::size_t n = 0; n < 33; ++n) EXPECT_EQ(sums[m * 48 + n], p.oracle(m, n));
}

TEST_P(GemmI8Test, DequantizesInTheStatedOrderBitForBitAndWritesNothingElse) {
  for (const std::size_t rows : {1U, 2U, 3U, 7U, 8U, 9U, 13U, 25U})
    for (const std::size_t out : {1U, 7U, 8U, 9U, 16U, 47U, 96U, 113U})
      for (const int with : {0, 1, 2, 3}) {
        const Product p = product(rows * out, out, rows, {{0, 0, 5, 0}, {5, 5, 2, 1}}, true, false);
        GemmI8Job job = p.job();
        if ((with & 1) != 0) job.addends = p.addends.data();
        if ((with & 2) != 0) job.bias = p.bias.data();
        const std::size_t stride = out + 3;
        std::vector<float> y(rows * stride, 77.0F);
        job.y = y.data();
        job.y_stride = stride;
        GetParam().run(job, 0, p.panels.panels());
        for (std::size_t m = 0; m < rows; ++m)
          for (std::size_t n = 0; n < stride; ++n) {
            float expected = 77.0F;
            if (n < out) {
              expected = static_cast<float>(p.oracle(m, n)) * (p.scales[n] * p.steps[m]);
              if ((with & 1) != 0) expected += p.addend_values[m][n];
              if ((with & 2) != 0) expected += p.bias[n];
            }
            ASSERT_EQ(std::bit_cast<std::uint32_t>(y[m * stride + n]),
                      std::bit_cast<std::uint32_t>(expected))
                << rows << " rows, " << out << " outputs, row " << m << " output " << n;
          }
      }
}

TEST_P(GemmI8Test, PanelsMayBeSharedOutInAnyWay) {
  const Product p = product(9, 200, 11, {{0, 0, 9, 0}, {9, 9, 4, 2}}, true, false);
  const std::size_t panels = p.panels.panels(), columns = panels * 16;
  for (std::size_t cut = 0; cut <= panels; ++cut) {
    std::vector<std::int32_t> sums(11 * columns);
    GemmI8Job job = p.job();
    job.sums = sums.data();
    job.sums_stride = columns;
    GetParam().run(job, 0, cut);
    GetParam().run(job, cut, panels);
    for (std::size_t m = 0; m < 11; ++m)
      for (std::size_t n = 0; n < 200; ++n)
        ASSERT_EQ(sums[m * columns + n], p.oracle(m, n)) << "cut " << cut;
  }
}

std::string name_of(const ::testing::TestParamInfo<GemmI8Kernel>& info) {
  return std::string(info.param.name);
}

INSTANTIATE_TEST_SUITE_P(Grouped, GemmI8Test,
                         ::testing::ValuesIn(gemm_i8_kernels().begin(), gemm_i8_kernels().end()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Shifted, GemmI8Test,
                         ::testing::ValuesIn(gemm_i16_kernels().begin(), gemm_i16_kernels().end()),
                         name_of);

TEST(PanelsI8, StandInTheStatedOrder) {
  PanelsI8 panels(18, 2, true);
  const std::vector<std::int8_t> codes = {1, -2, 3, -128, 127};
  const std::vector<std::uint32_t> slots = {4, 5, 5, 5, 3, 0, 1, 2};  // 5 holds no channel
  panels.put(17, codes, slots);
  const std::uint8_t* row = panels.data() + panels.panel_bytes() + 4;  // output 1 of panel 1
  const std::vector<std::uint8_t> expected = {255, 128, 128, 128, 0, 129, 126, 131};
  for (std::size_t q = 0; q < 2; ++q)
    for (std::size_t t = 0; t < 4; ++t) EXPECT_EQ(row[q * 64 + t], expected[q * 4 + t]);
  EXPECT_EQ(panels.bytes(), 2U * 2 * 64);
}

}  // namespace
}  // namespace tender::kernels
