#include "compress/zero_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "compress/convert.h"
#include "compress/outliers.h"
#include "model/model.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::compress {
namespace {

class ZeroCodesTest : public ::testing::Test {
 protected:
  ZeroCodesTest() {
    testing::write_tiny_model(folder_ / "tiny");
    text_.asked = {2, 9, 0};
    text_.windows = {{3, 1, 4, 1, 5, 9, 2, 6, 5}, {35, 89, 79, 32, 38, 46, 26, 43, 38}};
  }
  std::vector<ZeroCodes> count(const std::filesystem::path& path) {
    return count_zero_codes(*io::open_checkpoint(path), text_, host_isa(), pool_, silent_);
  }

  testing::TemporaryFolder folder_;
  CalibrationText text_;
  ThreadPool pool_{2};
  Progress silent_;
};

/// Rows of every site of the whole model.
struct Recorder : model::SiteObserver {
  std::map<std::size_t, std::vector<std::vector<float>>> rows;
  void observe(std::size_t site, const Rows& x) override {
    for (std::size_t m = 0; m < x.values.rows(); ++m)
      rows[site].emplace_back(x.values.row(m).begin(), x.values.row(m).end());
  }
};

TEST_F(ZeroCodesTest, AreThoseOfRoundingEveryValue) {
  const auto checkpoint = io::open_checkpoint(folder_ / "tiny");
  const auto model = model::load_model(*checkpoint, host_isa(), pool_, silent_);
  Recorder recorder;
  for (const auto& window : text_.windows) {
    const auto sequence = model->sequence(window.size());
    const model::BatchItem item{sequence.get(), window, 0};
    Matrix hidden;
    model->forward({&item, 1}, hidden, pool_, &recorder);
  }
  std::map<std::string, ZeroCodes> expected;
  for (const auto& [site, rows] : recorder.rows) {
    float all = 0;
    for (const auto& row : rows)
      for (const float value : row) all = std::max(all, std::abs(value));
    ZeroCodes& kind = expected[model::site_kind(model->sites()[site].name)];
    for (const auto& row : rows) {
      float own = 0;
      for (const float value : row) own = std::max(own, std::abs(value));
      for (const float value : row) {
        const auto is_zero = [&](float largest, float highest) {
          const double code = static_cast<double>(value) / static_cast<double>(largest) *
                              static_cast<double>(highest);
          return std::uint64_t{std::nearbyint(code) == 0};
        };
        ++kind.values;
        kind.per_tensor_8 += is_zero(all, 127);
        kind.per_tensor_4 += is_zero(all, 7);
        kind.per_row_8 += is_zero(own, 127);
        kind.per_row_4 += is_zero(own, 7);
      }
    }
  }
  const auto kinds = count(folder_ / "tiny");
  ASSERT_EQ(kinds.size(), 4U);
  EXPECT_EQ(kinds[0].kind, "self_attn.qkv");
  for (const ZeroCodes& kind : kinds) {
    const ZeroCodes& wanted = expected.at(kind.kind);
    EXPECT_EQ(kind.values, wanted.values);
    EXPECT_EQ(kind.per_tensor_8, wanted.per_tensor_8);
    EXPECT_EQ(kind.per_tensor_4, wanted.per_tensor_4);
    EXPECT_EQ(kind.per_row_8, wanted.per_row_8);
    EXPECT_EQ(kind.per_row_4, wanted.per_row_4);
    EXPECT_LT(kind.per_row_8, kind.per_tensor_4);
  }
}

TEST_F(ZeroCodesTest, OutlierChannelsMakeMoreOfThemBehindTheNorms) {
  const auto checkpoint = io::open_checkpoint(folder_ / "tiny");
  const Outliers outliers(*checkpoint, {.factors = {1024}, .channels = 3});
  convert(*checkpoint, {.output = folder_ / "loud", .type = DType::f32, .transform = &outliers},
          silent_);
  const auto before = count(folder_ / "tiny"), after = count(folder_ / "loud");
  for (const std::size_t norm : {0U, 2U}) {  // qkv; gate and up
    EXPECT_LT(before[norm].share(before[norm].per_row_8), 0.2);
    EXPECT_GT(after[norm].share(after[norm].per_row_8), 0.7) << "all but the loud ones";
  }
  for (const std::size_t other : {1U, 3U})
    EXPECT_EQ(after[other].per_row_8, before[other].per_row_8) << "the same numbers enter these";
}

TEST_F(ZeroCodesTest, CancelledItSaysSo) {
  struct Stop : Progress {
    bool cancelled() const override { return true; }
  } stop;
  EXPECT_THROW(
      count_zero_codes(*io::open_checkpoint(folder_ / "tiny"), text_, host_isa(), pool_, stop),
      Error);
}

}  // namespace
}  // namespace tender::compress
