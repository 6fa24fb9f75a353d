#include "kernels/compress_codes/compress_codes.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tender::kernels {

void PrintTo(const CompressCodesKernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

class CompressCodesTest : public ::testing::TestWithParam<CompressCodesKernel> {
 protected:
  void SetUp() override {
    if (!contains(detected_isa(), GetParam().needs)) GTEST_SKIP() << "this CPU cannot run it";
  }
};

TEST_P(CompressCodesTest, PutsTheCodesOfASetSideBySideWithZerosToTheQuad) {
  std::vector<std::int16_t> codes(128);
  for (std::size_t k = 0; k < codes.size(); ++k) codes[k] = static_cast<std::int16_t>(k - 64);
  const std::vector<std::uint64_t> set = {1ULL << 3U | 1ULL << 63U,
                                          1ULL | 1ULL << 40U | 1ULL << 41U};
  std::vector<std::uint8_t> out(8, 99);
  EXPECT_EQ(GetParam().compress(codes.data(), set.data(), 2, out.data(), out.size()),
            -61 - 1 + 0 + 40 + 41);
  EXPECT_EQ(out,
            (std::vector<std::uint8_t>{static_cast<std::uint8_t>(-61), 255, 0, 40, 41, 0, 0, 0}));
}

TEST_P(CompressCodesTest, TakesUnsignedCodes) {
  std::vector<std::int16_t> codes(64, 255);
  const std::uint64_t all = ~std::uint64_t{0};
  std::vector<std::uint8_t> out(64);
  EXPECT_EQ(GetParam().compress(codes.data(), &all, 1, out.data(), out.size()), 64 * 255);
  EXPECT_EQ(out, std::vector<std::uint8_t>(64, 255));
}

TEST_P(CompressCodesTest, GivesWhatTheDefinitionGivesAndStaysInItsRoom) {
  const CompressCodesKernel& scalar = compress_codes_kernels().back();
  Rng rng(11, "compress codes");
  for (std::size_t words = 1; words <= 5; ++words)
    for (const std::uint64_t share : {1U, 2U, 5U, 63U, 64U})
      for (std::size_t slack = 0; slack < 70; slack += 3) {
        std::vector<std::int16_t> codes(words * kChannelsOfWord);
        for (auto& code : codes) code = static_cast<std::int16_t>(rng.below(384)) - 128;
        std::vector<std::uint64_t> set(words, 0);
        std::size_t count = 0;
        for (std::size_t k = 0; k < codes.size(); ++k)
          if (rng.below(64) < share) {
            set[k / 64] |= std::uint64_t{1} << (k % 64);
            ++count;
          }
        const std::size_t quad = (count + 3) / 4 * 4, room = quad + slack;
        std::vector<std::uint8_t> out(room + 64, 77), expected(room + 64, 77);
        EXPECT_EQ(GetParam().compress(codes.data(), set.data(), words, out.data(), room),
                  scalar.compress(codes.data(), set.data(), words, expected.data(), room));
        for (std::size_t i = 0; i < quad; ++i) ASSERT_EQ(out[i], expected[i]) << i;
        for (std::size_t i = room; i < out.size(); ++i) ASSERT_EQ(out[i], 77) << "past its room";
      }
}

INSTANTIATE_TEST_SUITE_P(All, CompressCodesTest, ::testing::ValuesIn(compress_codes_kernels()),
                         [](const auto& kernel) { return std::string(kernel.param.name); });

}  // namespace
}  // namespace tender::kernels
