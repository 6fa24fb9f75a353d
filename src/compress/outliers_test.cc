#include "compress/outliers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "model/model.h"
#include "tests/support/test_support.h"

namespace tender::compress {
namespace {

namespace fs = std::filesystem;

class OutliersTest : public ::testing::Test {
 protected:
  fs::path golden(const std::string& name) const {
    return testing::source_path("src/model/golden/" + name);
  }
  fs::path rewrite(const std::string& name, const OutlierRequest& request) {
    const auto checkpoint = io::open_checkpoint(golden(name));
    const Outliers outliers(*checkpoint, request);
    ConvertRequest convert_request{.output = folder_ / ("out-" + name),
                                   .overwrite = Overwrite::replace,
                                   .type = DType::f32,
                                   .transform = &outliers};
    convert(*checkpoint, convert_request, silent_);
    return convert_request.output;
  }

  struct Seen : model::SiteObserver {
    std::vector<std::vector<float>> largest;  ///< [sites][in]
    void observe(std::size_t site, const Rows& rows) override {
      largest.resize(std::max(largest.size(), site + 1));
      largest[site].resize(rows.values.cols(), 0.0F);
      for (std::size_t m = 0; m < rows.values.rows(); ++m)
        for (std::size_t k = 0; k < rows.values.cols(); ++k)
          largest[site][k] = std::max(largest[site][k], std::abs(rows.values(m, k)));
    }
  };
  /// Logits of some tokens, and what entered the sites.
  Matrix run(const fs::path& path, Seen& seen) {
    ThreadPool pool(1);
    const auto model = model::load_model(*io::open_checkpoint(path), host_isa(), pool, silent_);
    Rng rng(2, "tokens");
    std::vector<model::TokenId> ids(12);
    for (auto& id : ids) id = static_cast<model::TokenId>(rng.below(model->info().vocabulary));
    const auto sequence = model->sequence(ids.size());
    const model::BatchItem item{sequence.get(), ids, 0};
    Matrix hidden;
    model->forward({&item, 1}, hidden, pool, &seen);
    Matrix logits(ids.size(), model->info().vocabulary);
    model->logits(hidden.view(), logits.view(), pool);
    return logits;
  }

  testing::TemporaryFolder folder_;
  Progress silent_;
};

double farthest(const Matrix& a, const Matrix& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.span().size(); ++i)
    largest = std::max(
        largest, std::abs(static_cast<double>(a.span()[i]) - static_cast<double>(b.span()[i])));
  return largest;
}

// Check 15 of tender.md section 9: outlier channels for models that have none.
// Powers of two leave every product of gain and column as it was, bit for bit.
TEST_F(OutliersTest, TenderCheck15FactorsOfTwoChangeNoLogitAndMakeTheirChannelsLarge) {
  for (const char* name : {"llama_gqa", "qwen2", "opt_pre"}) {
    SCOPED_TRACE(name);
    const OutlierRequest request{.factors = {8, 32}, .channels = 4};
    Seen before, after;
    const Matrix expected = run(golden(name), before);
    const Matrix got = run(rewrite(name, request), after);
    EXPECT_EQ(farthest(got, expected), 0);
    const Outliers outliers(*io::open_checkpoint(golden(name)), request);
    ASSERT_EQ(outliers.channels().size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t k = outliers.channels()[i];
      EXPECT_EQ(after.largest[0][k], before.largest[0][k] * (i % 2 == 0 ? 8.0F : 32.0F));
      EXPECT_EQ(after.largest[1][k], before.largest[1][k]) << "no norm stands before this site";
    }
  }
}

TEST_F(OutliersTest, OffsetsAreTakenBackByTheBiases) {
  const OutlierRequest request{.factors = {8, 32}, .channels = 4, .offset = 2};
  Seen before, after;
  const Matrix expected = run(golden("opt_pre"), before);
  const Matrix got = run(rewrite("opt_pre", request), after);
  const Outliers outliers(*io::open_checkpoint(golden("opt_pre")), request);
  // What is added and taken back is rounded in float32 once each, at 32 * (2 + some) times the
  // size of what it stands beside; the network amplifies it as it does any rounding.
  float scale = 0;
  for (const float logit : expected.span()) scale = std::max(scale, std::abs(logit));
  EXPECT_LT(farthest(got, expected), 1e-3 * static_cast<double>(scale));
  EXPECT_GT(farthest(got, expected), 0) << "something was added";
  const std::size_t k = outliers.channels()[1];
  EXPECT_GT(after.largest[0][k], before.largest[0][k] * 32.0F);
}

TEST_F(OutliersTest, ModelsWhoseNormsServeTheResidualStreamAreRefused) {
  try {
    Outliers(*io::open_checkpoint(golden("opt_post")), {});
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "ARCH_FEATURE");
  }
  OutlierRequest offset;
  offset.offset = 1;
  EXPECT_THROW(Outliers(*io::open_checkpoint(golden("llama_gqa")), offset), Error);
}

TEST_F(OutliersTest, WhatIsNoFactorOrNumberOfChannelsIsRefused) {
  const auto checkpoint = io::open_checkpoint(golden("llama_gqa"));
  for (const OutlierRequest& bad :
       {OutlierRequest{.factors = {}}, OutlierRequest{.factors = {0}},
        OutlierRequest{.factors = {8, NAN}}, OutlierRequest{.channels = 0},
        OutlierRequest{.channels = 100000}, OutlierRequest{.offset = INFINITY}}) {
    try {
      Outliers(*checkpoint, bad);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "OUTLIERS");
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    }
  }
}

}  // namespace
}  // namespace tender::compress
