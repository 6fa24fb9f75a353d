#include "kernels/gemm_blocks/gemm_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/rng.h"

namespace tender::kernels {

void PrintTo(const GemmBlocksKernel& kernel, std::ostream* out) { *out << kernel.name; }
void PrintTo(const RoundBlocksKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

constexpr std::size_t kBlock = PanelsBlocks::kBlock;

struct Form {
  int bits;
  int zero;
  BlockScales scales;
};
constexpr Form kForms[] = {
    {8, 128, BlockScales::halves},             // Q8_0
    {4, 8, BlockScales::halves},               // Q4_0
    {4, 0, BlockScales::halves_and_minima},    // Q4_1
    {4, 0, BlockScales::superblocks},          // Q4_K
    {8, 128, BlockScales::halves_and_minima},  // Q5_1
    {8, 128, BlockScales::superblocks},        // Q5_K
    {8, 128, BlockScales::half_blocks},        // Q6_K
    {4, 8, BlockScales::half_blocks},
    {8, 128, BlockScales::floats},
    {4, 8, BlockScales::floats},
};

float random_half(Rng& rng, float scale) {
  return half_to_float(float_to_half(scale * (static_cast<float>(rng.uniform()) - 0.3F)));
}

/// Random rows and weights, and what their product is by the definition of the header.
struct Product {
  Product(std::uint64_t seed, LinearShape shape_, std::size_t rows_, Form form_, bool extreme)
      : shape(shape_),
        rows(rows_),
        form(form_),
        panels(shape_, form_.bits, form_.zero, form_.scales),
        blocks(panels.blocks()),
        stride((blocks * kBlock + 63) / 64 * 64) {
    Rng rng(seed, "gemm_blocks");
    const auto draw = [&](int least, int most) {
      if (extreme) return rng.below(2) == 0 ? least : most;
      return least + static_cast<int>(rng.below(static_cast<std::uint64_t>(most - least + 1)));
    };
    for (std::size_t n = 0; n < shape.out; ++n) {
      std::vector<std::uint8_t> u;
      std::vector<BlockScale> scales;
      for (std::size_t k = 0; k < shape.in; ++k)
        u.push_back(static_cast<std::uint8_t>(draw(0, (1 << form.bits) - 1)));
      for (std::size_t b = 0; b < blocks; ++b) {
        const bool halved = form.scales == BlockScales::half_blocks;
        const bool super = halved || form.scales == BlockScales::superblocks;
        BlockScale scale{random_half(rng, 0.01F), random_half(rng, 0.02F), 1, 0};
        if (form.scales == BlockScales::floats) scale.scale = 0.01F * rng.normal();
        if (super && b % 8 != 0) {
          scale.scale = scales[b / 8 * 8].scale;
          scale.minimum = scales[b / 8 * 8].minimum;
        }
        scale.times = super ? static_cast<std::uint8_t>(rng.below(64)) : std::uint8_t{1};
        scale.min_times = super ? static_cast<std::uint8_t>(rng.below(64)) : std::uint8_t{0};
        if (halved) {
          scale.times = static_cast<std::uint8_t>(rng.below(256));
          scale.min_times = static_cast<std::uint8_t>(rng.below(256));
        }
        scales.push_back(scale);
      }
      panels.put(n, u, scales);
      weights.push_back(u);
      of_blocks.push_back(scales);
      bias.push_back(rng.normal());
    }
    codes.resize(rows * stride, 0);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t b = 0; b < blocks; ++b) {
        std::int32_t sum[2] = {};
        for (std::size_t k = b * kBlock; k < std::min(shape.in, (b + 1) * kBlock); ++k)
          sum[k % kBlock / 16] += codes[m * stride + k] = static_cast<std::int8_t>(draw(-127, 127));
        sums.insert(sums.end(), sum, sum + 2);
        steps.push_back(0.01F * static_cast<float>(1 + rng.uniform()));
      }
  }

  /// As the header states it, from the weights as they were given.
  float oracle(std::size_t m, std::size_t n) const {
    float y = 0;
    for (std::size_t b = 0; b < blocks; ++b) {
      if (form.scales == BlockScales::half_blocks) {
        y = halves_of(m, n, b, y);
        continue;
      }
      std::int64_t sum = 0;
      for (std::size_t k = b * kBlock; k < std::min(shape.in, (b + 1) * kBlock); ++k)
        sum += std::int64_t{codes[m * stride + k]} * (weights[n][k] - form.zero);
      const BlockScale& of = of_blocks[n][b];
      const float step = steps[m * blocks + b];
      const float scale = of.scale * static_cast<float>(of.times);
      y = std::fma(static_cast<float>(sum), scale * step, y);
      const std::size_t at = 2 * (m * blocks + b);
      const float code_sum = static_cast<float>(sums[at] + sums[at + 1]);
      if (form.scales == BlockScales::halves_and_minima)
        y = std::fma(of.minimum, step * code_sum, y);
      if (form.scales == BlockScales::superblocks)
        y = std::fma(-(of.minimum * static_cast<float>(of.min_times)), step * code_sum, y);
    }
    return y;
  }

  /// One product and one rounding for each half of a block.
  float halves_of(std::size_t m, std::size_t n, std::size_t b, float y) const {
    for (std::size_t half = 0; half < 2; ++half) {
      const BlockScale& of = of_blocks[n][b];
      const int times = static_cast<std::int8_t>(half == 0 ? of.times : of.min_times);
      std::int64_t sum = 0;
      for (std::size_t k = b * kBlock + 16 * half; k < b * kBlock + 16 * (half + 1); ++k)
        if (k < shape.in) sum += std::int64_t{codes[m * stride + k]} * (weights[n][k] - form.zero);
      const float scale = of.scale * static_cast<float>(times);
      y = std::fma(static_cast<float>(sum), scale * steps[m * blocks + b], y);
    }
    return y;
  }

  GemmBlocksJob job() const {
    GemmBlocksJob job;
    job.codes = codes.data();
    job.stride = stride;
    job.rows = rows;
    job.steps = steps.data();
    job.sums = sums.data();
    job.panels = panels.data();
    job.panel_bytes = panels.panel_bytes();
    job.scales = panels.scales();
    job.panel_scale_bytes = panels.panel_scale_bytes();
    job.blocks = blocks;
    job.bits = form.bits;
    job.zero = form.zero;
    job.form = form.scales;
    job.out = shape.out;
    return job;
  }

  LinearShape shape;
  std::size_t rows;
  Form form;
  PanelsBlocks panels;
  std::size_t blocks, stride;
  std::vector<std::vector<std::uint8_t>> weights;
  std::vector<std::vector<BlockScale>> of_blocks;
  std::vector<std::int8_t> codes;
  std::vector<std::int32_t> sums;
  std::vector<float> steps, bias;
};

class GemmBlocksTest : public ::testing::TestWithParam<GemmBlocksKernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
};

TEST_P(GemmBlocksTest, EqualsTheDefinitionBitForBitInEveryFormForOddSizesAndExtremeCodes) {
  Rng rng(41, "sizes");
  for (std::uint64_t seed = 0; seed < 120; ++seed) {
    const LinearShape shape{1 + rng.below(120), 1 + rng.below(600)};
    const std::size_t rows = 1 + rng.below(14);
    const Product p(seed, shape, rows, kForms[seed % std::size(kForms)],
                    seed / std::size(kForms) % 4 == 0);
    GemmBlocksJob job = p.job();
    const bool biased = rng.below(2) == 0;
    if (biased) job.bias = p.bias.data();
    const std::size_t stride = shape.out + 3, panels = p.panels.panels();
    std::vector<float> y(rows * stride, 77.0F);
    job.y = y.data();
    job.y_stride = stride;
    const std::size_t cut = rng.below(panels + 1);
    GetParam().run(job, 0, cut);
    GetParam().run(job, cut, panels);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t n = 0; n < stride; ++n) {
        float expected = 77.0F;
        if (n < shape.out) expected = biased ? p.oracle(m, n) + p.bias[n] : p.oracle(m, n);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(y[m * stride + n]),
                  std::bit_cast<std::uint32_t>(expected))
            << "seed " << seed << ", in " << shape.in << ", row " << m << ", output " << n;
      }
  }
}

TEST_P(GemmBlocksTest, ABlockWithoutNumbersSpoilsItsRowAlone) {
  Product p(1, {20, 96}, 5, kForms[2], false);
  p.steps[3 * p.blocks + 1] = std::numeric_limits<float>::quiet_NaN();
  GemmBlocksJob job = p.job();
  std::vector<float> y(5 * 20);
  job.y = y.data();
  job.y_stride = 20;
  GetParam().run(job, 0, p.panels.panels());
  for (std::size_t m = 0; m < 5; ++m)
    for (std::size_t n = 0; n < 20; ++n) EXPECT_EQ(std::isnan(y[m * 20 + n]), m == 3);
}

class RoundBlocksTest : public ::testing::TestWithParam<RoundBlocksKernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
};

TEST_P(RoundBlocksTest, GivesTheCodesStepsAndSumsOfTheDefinition) {
  const RoundBlocksFn definition = round_blocks_kernels().back().run;
  Rng rng(42, "rows");
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::size_t in = 1 + rng.below(300), blocks = (in + kBlock - 1) / kBlock;
    std::vector<float> x(in);
    const float scales[] = {1.0F, 1e-20F, 1e30F, 1e-31F};
    for (float& value : x) value = rng.normal() * scales[rng.below(4)];
    // halves of a step are ties
    if (seed % 3 == 0)
      for (float& value : x)
        value = 0.5F * static_cast<float>(static_cast<int>(rng.below(255)) - 127);
    for (const float odd :
         {0.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
      if (rng.below(3) == 0) x[rng.below(in)] = odd;
    if (seed % 7 == 0) std::fill(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(in / 2), 0.0F);
    for (const int qmax : {7, 127}) {
      std::vector<std::int8_t> codes(blocks * kBlock, 99), expected_codes = codes;
      std::vector<float> steps(blocks), expected_steps(blocks);
      std::vector<std::int32_t> sums(2 * blocks), expected_sums(2 * blocks);
      definition(x.data(), in, qmax, expected_codes.data(), expected_steps.data(),
                 expected_sums.data());
      GetParam().run(x.data(), in, qmax, codes.data(), steps.data(), sums.data());
      ASSERT_EQ(codes, expected_codes) << "seed " << seed << " qmax " << qmax;
      ASSERT_EQ(sums, expected_sums);
      for (std::size_t b = 0; b < blocks; ++b)
        ASSERT_EQ(std::bit_cast<std::uint32_t>(steps[b]),
                  std::bit_cast<std::uint32_t>(expected_steps[b]));
    }
  }
}

template <class Kernel>
std::string name_of(const ::testing::TestParamInfo<Kernel>& info) {
  return std::string(info.param.name);
}

INSTANTIATE_TEST_SUITE_P(All, GemmBlocksTest,
                         ::testing::ValuesIn(gemm_blocks_kernels().begin(),
                                             gemm_blocks_kernels().end()),
                         name_of<GemmBlocksKernel>);
INSTANTIATE_TEST_SUITE_P(All, RoundBlocksTest,
                         ::testing::ValuesIn(round_blocks_kernels().begin(),
                                             round_blocks_kernels().end()),
                         name_of<RoundBlocksKernel>);

TEST(RoundBlocks, CodesAreTheNearestAndRowsThatAreNotFiniteAreMarked) {
  std::vector<float> x(70, 0.0F);
  x[0] = 127;
  x[1] = -2.5F;
  x[2] = 3.5F;
  x[40] = std::numeric_limits<float>::infinity();
  x[64] = -0x1p-101F;
  std::vector<std::int8_t> codes(96, 1);
  float steps[3];
  std::int32_t sums[6];
  round_blocks_kernels().back().run(x.data(), 70, 127, codes.data(), steps, sums);
  EXPECT_EQ(steps[0], 1.0F);
  EXPECT_EQ((std::vector<int>{codes[0], codes[1], codes[2]}), (std::vector<int>{127, -2, 4}));
  EXPECT_EQ(sums[0], 129);
  EXPECT_EQ(sums[1], 0);
  EXPECT_TRUE(std::isnan(steps[1]));
  EXPECT_EQ(steps[2], 0.0F) << "below 2^-100 counts as nothing";
  EXPECT_TRUE(std::all_of(codes.begin() + 32, codes.end(), [](int c) { return c == 0; }));
}

TEST(PanelsBlocks, StandInTheStatedOrder) {
  PanelsBlocks eight({17, 32}, 8, 128, BlockScales::halves);
  std::vector<std::uint8_t> u(32);
  for (std::size_t k = 0; k < 32; ++k) u[k] = static_cast<std::uint8_t>(200 + k);
  const std::vector<BlockScale> scales = {{0.5F, -2.0F, 3, 5}};
  eight.put(16, u, scales);
  const std::uint8_t* panel = eight.data() + eight.panel_bytes();
  EXPECT_EQ(panel[0], 200);
  EXPECT_EQ(panel[64 + 2], 206) << "quad 1, output 0, slot 2";
  EXPECT_EQ(panel[4], 128) << "an output that is not there has weight 0";
  EXPECT_EQ(eight.scales()[eight.panel_scale_bytes() + 1], 0x38) << "0.5 is 0x3800";
  EXPECT_EQ(eight.bytes(), 2U * (512 + 32));

  PanelsBlocks four({1, 64}, 4, 0, BlockScales::superblocks);
  u.assign(64, 0);
  u[1] = 7;
  u[5] = 9;
  four.put(0, u, std::vector<BlockScale>{{0.5F, -2.0F, 3, 5}, {0.5F, -2.0F, 6, 10}});
  EXPECT_EQ(four.data()[1], 7 | 9 << 4) << "channels 1 and 5 share a byte";
  EXPECT_EQ(four.scales()[64 + 0], 3);
  EXPECT_EQ(four.scales()[64 + 16], 5);
  EXPECT_EQ(four.scales()[64 + 32], 6);
  EXPECT_EQ(four.scales()[64 + 48], 10);
  EXPECT_EQ(four.bytes(), 2U * 256 + 320);
}

}  // namespace
}  // namespace tender::kernels
