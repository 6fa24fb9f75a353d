#include "kernels/gemm_i8/gemm_i8.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tender::kernels {

void PrintTo(const GemmI8Kernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

/// A random product with a 64-bit oracle. Slots are channels here: order is the caller's affair.
struct Product {
  Product(std::uint64_t seed, std::size_t outputs, std::size_t rows_,
          std::vector<Segment> segments_, CodeWidth width_, bool is_signed_, bool offset,
          bool extreme)
      : rows(rows_), width(width_), is_signed(is_signed_), segments(std::move(segments_)) {
    Rng rng(seed, "gemm_i8");
    std::size_t panel_quads = 0;
    for (const Segment& s : segments) {
      stride = std::max<std::size_t>(stride, std::size_t{4} * (s.codes + s.quads));
      panel_quads = std::max<std::size_t>(panel_quads, s.panel + s.quads);
    }
    const int low = width == CodeWidth::words ? -32768 : is_signed ? -128 : 0;
    const int high = width == CodeWidth::words ? 32767 : is_signed ? 127 : 255;
    const auto draw = [&](int least, int most) {
      if (extreme) return rng.below(2) == 0 ? least : most;
      return least + static_cast<int>(rng.below(static_cast<std::uint64_t>(most - least + 1)));
    };
    codes.resize(rows * stride);
    for (int& code : codes) code = draw(low, high);
    weights.resize(outputs * panel_quads * 4);
    for (std::int8_t& w : weights) w = static_cast<std::int8_t>(draw(-128, 127));
    in = panel_quads * 4;

    panels = PanelsI8(outputs, panel_quads, offset);
    std::vector<std::uint32_t> slots(in);
    for (std::size_t s = 0; s < in; ++s) slots[s] = static_cast<std::uint32_t>(s);
    for (std::size_t n = 0; n < outputs; ++n)
      panels.put(n, std::span(weights).subspan(n * in, in), slots);
    for (const int code : codes) {
      bytes.push_back(static_cast<std::uint8_t>(code));
      words.push_back(static_cast<std::int16_t>(code));
    }
    for (std::size_t m = 0; offset && m < rows; ++m) {
      std::uint32_t sum = 0;
      for (const Segment& s : segments) {
        sum <<= s.shift;
        for (std::size_t i = 0; i < 4 * s.quads; ++i)
          sum += static_cast<std::uint32_t>(codes[m * stride + 4 * s.codes + i]);
      }
      corrections.push_back(static_cast<std::int32_t>(sum * 128));
    }
    const std::size_t columns = panels.panels() * 16;
    for (std::size_t n = 0; n < columns; ++n) {
      scales.push_back(0.001F * static_cast<float>(1 + rng.uniform()));
      bias.push_back(rng.normal());
    }
    for (std::size_t m = 0; m < rows; ++m) {
      steps.push_back(0.01F * static_cast<float>(1 + rng.uniform()));
      addend_values.emplace_back();
      for (std::size_t n = 0; n < columns; ++n) addend_values.back().push_back(rng.normal());
    }
    for (const auto& values : addend_values) addends.push_back(values.data());
  }

  /// Modulo 2^32.
  std::int32_t oracle(std::size_t m, std::size_t n) const {
    std::uint64_t sum = 0;
    for (const Segment& s : segments) {
      sum <<= s.shift;
      for (std::size_t i = 0; i < 4 * s.quads; ++i)
        sum += static_cast<std::uint64_t>(std::int64_t{codes[m * stride + 4 * s.codes + i]} *
                                          weights[n * in + 4 * s.panel + i]);
    }
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
  }

  GemmI8Job job() const {
    GemmI8Job job;
    job.codes = width == CodeWidth::bytes ? static_cast<const void*>(bytes.data()) : words.data();
    job.stride = stride;
    job.rows = rows;
    job.codes_signed = is_signed;
    job.corrections = corrections.empty() ? nullptr : corrections.data();
    job.steps = steps.data();
    job.panels = panels.data();
    job.panel_bytes = panels.panel_bytes();
    job.out = panels.out();
    job.scales = scales.data();
    job.segments = segments.data();
    job.segment_count = segments.size();
    return job;
  }

  std::size_t rows, stride = 0, in = 0;
  CodeWidth width;
  bool is_signed;
  std::vector<Segment> segments;
  std::vector<int> codes;
  std::vector<std::int8_t> weights;
  PanelsI8 panels;
  std::vector<std::uint8_t> bytes;
  std::vector<std::int16_t> words;
  std::vector<std::int32_t> corrections;
  std::vector<float> scales, bias, steps;
  std::vector<std::vector<float>> addend_values;
  std::vector<const float*> addends;
};

/// Random groups: empty ones, single quads, shifts up to 4 at a time.
std::vector<Segment> random_segments(Rng& rng) {
  std::vector<Segment> segments;
  std::uint32_t at = 0;
  for (std::uint64_t count = 1 + rng.below(20); count > 0; --count) {
    const auto quads = static_cast<std::uint32_t>(rng.below(3) == 0 ? 0 : rng.below(9));
    segments.push_back({at, at, quads, static_cast<std::uint32_t>(rng.below(5))});
    at += quads;
  }
  if (at == 0) segments.push_back({0, 0, 1, 1});
  return segments;
}

class GemmI8Test : public ::testing::TestWithParam<GemmI8Kernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
  Product product(std::uint64_t seed, std::size_t out, std::size_t rows,
                  std::vector<Segment> segments, bool is_signed, bool extreme) const {
    return {seed,
            out,
            rows,
            std::move(segments),
            GetParam().width,
            is_signed,
            GetParam().offset_panels && is_signed,
            extreme};
  }
};

TEST_P(GemmI8Test, ShiftedSumsEqualThe64BitSumModulo2To32ForAnyGroupsAndExtremeCodes) {
  Rng rng(11, "groups");
  for (std::uint64_t seed = 0; seed < 40; ++seed)
    for (const bool is_signed : {true, false}) {
      if (!is_signed && GetParam().width == CodeWidth::words) continue;  // words are signed
      const std::size_t out = 1 + rng.below(130), rows = 1 + rng.below(27);
      const Product p = product(seed, out, rows, random_segments(rng), is_signed, seed % 2 == 0);
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
