#include "kernels/gemm_i4/gemm_i4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tender::kernels {

void PrintTo(const GemmI4Kernel& kernel, std::ostream* out) { *out << kernel.name; }
void PrintTo(const UnpackI4Kernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

int draw(Rng& rng, int least, int most, bool extreme) {
  if (extreme) return rng.below(2) == 0 ? least : most;
  return least + static_cast<int>(rng.below(static_cast<std::uint64_t>(most - least + 1)));
}

std::vector<std::uint8_t> pairs_of(std::span<const std::int8_t> codes) {
  std::vector<std::uint8_t> pairs((codes.size() + 1) / 2, 0);
  for (std::size_t k = 0; k < codes.size(); ++k)
    pairs[k / 2] = static_cast<std::uint8_t>(pairs[k / 2] | (codes[k] & 15) << (k % 2 * 4));
  return pairs;
}

/// Random packed weights.
struct Weights {
  Weights(Rng& rng, LinearShape shape_, std::size_t group_, bool extreme)
      : shape(shape_), group(group_), panels(shape_, group_) {
    groups = group == 0 ? 0 : (shape.in + group - 1) / group;
    for (std::size_t i = 0; i < shape.out * shape.in; ++i)
      codes.push_back(static_cast<std::int8_t>(draw(rng, -8, 7, extreme)));
    for (std::size_t i = 0; i < shape.out * groups; ++i)
      multipliers.push_back(static_cast<std::uint8_t>(1 + rng.below(18)));
    for (std::size_t n = 0; n < shape.out; ++n)
      panels.put(n, pairs_of(std::span(codes).subspan(n * shape.in, shape.in)),
                 std::span(multipliers).subspan(n * groups, groups));
  }
  std::int64_t multiplier(std::size_t n, std::size_t k) const {
    return group == 0 ? 1 : multipliers[n * groups + k / group];
  }
  std::int64_t weight(std::size_t n, std::size_t k) const {
    return codes[n * shape.in + k] * multiplier(n, k);
  }

  LinearShape shape;
  std::size_t group, groups = 0;
  std::vector<std::int8_t> codes;
  std::vector<std::uint8_t> multipliers;
  PanelsI4 panels;
};

/// Rows of digits times packed weights, with a 64-bit oracle.
struct Product {
  Product(std::uint64_t seed, LinearShape shape, std::size_t group, std::size_t rows_,
          std::size_t planes_, bool extreme)
      : rng(seed, "gemm_i4"), rows(rows_), planes(planes_), weights(rng, shape, group, extreme) {
    plane_stride = weights.panels.lines() * 8;
    const std::size_t groups = weights.panels.groups();
    digits.resize(rows * planes * plane_stride, 0);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t p = 0; p < planes; ++p)
        for (std::size_t k = 0; k < shape.in; ++k)
          digits[(m * planes + p) * plane_stride + k] =
              static_cast<std::int8_t>(draw(rng, -128, 127, extreme));
    corrections.resize(rows * groups, 0);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t k = 0; k < shape.in; ++k) {
        std::int32_t& sum = corrections[m * groups + (group == 0 ? 0 : k / group)];
        sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) +
                                        8U * static_cast<std::uint32_t>(operand(m, k)));
      }
    const std::size_t columns = weights.panels.panels() * 16;
    for (std::size_t n = 0; n < columns; ++n) {
      scales.push_back(0.001F * static_cast<float>(1 + rng.uniform()));
      bias.push_back(rng.normal());
      addend.push_back(rng.normal());
    }
    for (std::size_t m = 0; m < rows; ++m) {
      steps.push_back(0.01F * static_cast<float>(1 + rng.uniform()));
      addends.push_back(addend.data());
    }
  }
  std::int64_t operand(std::size_t m, std::size_t k) const {
    std::int64_t x = 0;
    for (std::size_t p = planes; p-- > 0;)
      x = x * 256 + digits[(m * planes + p) * plane_stride + k];
    return x;
  }
  std::int32_t oracle(std::size_t m, std::size_t n) const {
    std::uint64_t sum = 0;
    for (std::size_t k = 0; k < weights.shape.in; ++k)
      sum += static_cast<std::uint64_t>(operand(m, k) * weights.weight(n, k));
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
  }
  GemmI4Job job() const {
    GemmI4Job job;
    job.common.codes = digits.data();
    job.common.stride = planes * plane_stride;
    job.common.rows = rows;
    job.common.steps = steps.data();
    job.common.panels = weights.panels.data();
    job.common.panel_bytes = weights.panels.panel_bytes();
    job.common.out = weights.shape.out;
    job.common.scales = scales.data();
    job.planes = planes;
    job.plane_stride = plane_stride;
    job.corrections = corrections.data();
    job.multipliers = weights.panels.multipliers();
    job.lines = weights.panels.lines();
    job.group_lines = weights.panels.group_lines();
    job.groups = weights.panels.groups();
    return job;
  }

  Rng rng;
  std::size_t rows, planes, plane_stride = 0;
  Weights weights;
  std::vector<std::int8_t> digits;
  std::vector<std::int32_t> corrections;
  std::vector<float> scales, bias, addend, steps;
  std::vector<const float*> addends;
};

class GemmI4Test : public ::testing::TestWithParam<GemmI4Kernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
};

// Check 2 of tender.md section 9.
TEST_P(GemmI4Test, TenderCheck2SumsEqualThe64BitSumModulo2To32ForOddSizesAllPlanesAndExtremeCodes) {
  Rng rng(21, "sizes");
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    const std::size_t groups[] = {0, 8, 32, 64, 128};
    const LinearShape shape{1 + rng.below(100), 1 + rng.below(290)};
    const std::size_t rows = 1 + rng.below(13), planes = 1 + seed % 4;
    const Product p(seed, shape, groups[rng.below(5)], rows, planes, seed % 3 == 0);
    GemmI4Job job = p.job();
    const std::size_t panels = p.weights.panels.panels(), columns = panels * 16;
    std::vector<std::int32_t> sums(rows * columns, 0x55555555);
    job.common.sums = sums.data();
    job.common.sums_stride = columns;
    const std::size_t cut = rng.below(panels + 1);
    GetParam().run(job, 0, cut);
    GetParam().run(job, cut, panels);
    for (std::size_t m = 0; m < rows; ++m)
      for (std::size_t n = 0; n < shape.out; ++n)
        ASSERT_EQ(sums[m * columns + n], p.oracle(m, n))
            << "seed " << seed << ", in " << shape.in << ", group " << p.weights.group << ", row "
            << m << ", output " << n;
  }
}

TEST_P(GemmI4Test, DequantizesInTheStatedOrderBitForBitAndWritesNothingElse) {
  for (const std::size_t rows : {1U, 2U, 3U, 5U, 8U, 11U})
    for (const std::size_t out : {1U, 8U, 15U, 16U, 65U})
      for (const int with : {0, 1, 2, 3}) {
        const Product p(rows * out, {out, 72}, 64, rows, 1 + rows % 2, false);
        GemmI4Job job = p.job();
        if ((with & 1) != 0) job.common.addends = p.addends.data();
        if ((with & 2) != 0) job.common.bias = p.bias.data();
        const std::size_t stride = out + 3;
        std::vector<float> y(rows * stride, 77.0F);
        job.common.y = y.data();
        job.common.y_stride = stride;
        GetParam().run(job, 0, p.weights.panels.panels());
        for (std::size_t m = 0; m < rows; ++m)
          for (std::size_t n = 0; n < stride; ++n) {
            float expected = 77.0F;
            if (n < out) {
              expected = static_cast<float>(p.oracle(m, n)) * (p.scales[n] * p.steps[m]);
              if ((with & 1) != 0) expected += p.addend[n];
              if ((with & 2) != 0) expected += p.bias[n];
            }
            ASSERT_EQ(std::bit_cast<std::uint32_t>(y[m * stride + n]),
                      std::bit_cast<std::uint32_t>(expected))
                << rows << " rows, " << out << " outputs, row " << m << " output " << n;
          }
      }
}

class UnpackI4Test : public ::testing::TestWithParam<UnpackI4Kernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
};

TEST_P(UnpackI4Test, EverySlotHoldsItsWeightShiftedInAnyOrderWithAndWithoutMultipliers) {
  Rng rng(22, "orders");
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const std::size_t groups[] = {0, 0, 8, 64};
    const std::size_t group = groups[seed % 4];
    const LinearShape shape{1 + rng.below(70), 1 + rng.below(150)};
    const Weights w(rng, shape, group, seed % 5 == 0);
    std::vector<std::uint32_t> slots(4 * (1 + rng.below(50)));
    std::vector<std::uint8_t> shifts;
    for (std::size_t s = 0; s < slots.size(); ++s) {
      // natural order, any order, and slots that hold none
      slots[s] = static_cast<std::uint32_t>(seed % 2 == 0 ? std::min(s, shape.in)
                                                          : rng.below(shape.in + 1));
      if (group == 0) shifts.push_back(static_cast<std::uint8_t>(rng.below(5)));
    }
    const auto quads = plan_unpacking(shape.in, slots, shifts, group);
    const std::uint8_t flip = rng.below(2) == 0 ? 0 : 0x80;
    const std::size_t begin = rng.below(w.panels.panels()), end = w.panels.panels();
    AlignedBuffer<std::uint8_t> out((end - begin) * quads.size() * 64);
    GetParam().run({.panels = w.panels.data(),
                    .panel_bytes = w.panels.panel_bytes(),
                    .multipliers = w.panels.multipliers(),
                    .groups = w.panels.groups(),
                    .quads = quads.data(),
                    .quad_count = quads.size(),
                    .flip = flip,
                    .out = out.data()},
                   begin, end);
    for (std::size_t n = begin * 16; n < shape.out; ++n)
      for (std::size_t s = 0; s < slots.size(); ++s) {
        if (slots[s] == shape.in) continue;
        const std::uint8_t* at =
            out.data() + ((n / 16 - begin) * quads.size() + s / 4) * 64 + n % 16 * 4 + s % 4;
        const std::int64_t weight = w.weight(n, slots[s]) * (1 << (shifts.empty() ? 0 : shifts[s]));
        ASSERT_EQ(*at, static_cast<std::uint8_t>(static_cast<std::uint8_t>(weight) ^ flip))
            << "seed " << seed << " output " << n << " slot " << s;
      }
  }
}

std::string gemm_name(const ::testing::TestParamInfo<GemmI4Kernel>& info) {
  return std::string(info.param.name);
}
std::string unpack_name(const ::testing::TestParamInfo<UnpackI4Kernel>& info) {
  return std::string(info.param.name);
}

INSTANTIATE_TEST_SUITE_P(All, GemmI4Test,
                         ::testing::ValuesIn(gemm_i4_kernels().begin(), gemm_i4_kernels().end()),
                         gemm_name);
INSTANTIATE_TEST_SUITE_P(All, UnpackI4Test,
                         ::testing::ValuesIn(unpack_i4_kernels().begin(),
                                             unpack_i4_kernels().end()),
                         unpack_name);

TEST(PanelsI4, StandInTheStatedOrderTwoCodesAByte) {
  PanelsI4 panels({18, 11}, 8);
  const std::vector<std::int8_t> codes = {1, -2, 3, -8, 7, 0, -1, 4, 5, 6, -7};
  const std::vector<std::uint8_t> multipliers = {18, 3};
  panels.put(17, pairs_of(codes), multipliers);
  EXPECT_EQ(panels.lines(), 2U);
  EXPECT_EQ(panels.bytes(), 2U * 2 * 64 + 2U * 2 * 16);
  const std::uint8_t* lines = panels.data() + panels.panel_bytes() + 4;  // output 1 of panel 1
  const std::vector<std::uint8_t> first = {9 | 15 << 4, 6 | 8 << 4, 11 | 7 << 4, 0 | 12 << 4};
  const std::vector<std::uint8_t> second = {13 | 8 << 4, 14 | 8 << 4, 1 | 8 << 4, 8 | 8 << 4};
  for (std::size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(lines[t], first[t]);
    EXPECT_EQ(lines[64 + t], second[t]);
  }
  EXPECT_EQ(panels.multipliers()[2 * 16 + 1], 18);
  EXPECT_EQ(panels.multipliers()[3 * 16 + 1], 3);
}

}  // namespace
}  // namespace tender::kernels
