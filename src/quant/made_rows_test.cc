// Rows that a site makes as it rounds them are the rows that would have been there (Rows::make).

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "quant/method_test_support.h"
#include "quant/registry.h"

namespace tender::quant {
namespace {

/// Rows of which no value may be read before it is made.
class Maker {
 public:
  Maker(MatrixView<const float> rows, std::span<const std::int32_t> positions)
      : rows_(rows), positions_(positions), poison_(rows.rows(), rows.cols()), made_(rows.rows()) {
    std::ranges::fill(poison_.span(), std::numeric_limits<float>::quiet_NaN());
  }
  Maker(const Maker&) = delete;
  Maker& operator=(const Maker&) = delete;

  Rows rows() const { return {poison_.view(), positions_, &make_}; }
  void operator()(std::size_t m, std::span<float> row) {
    made_.at(m).fetch_add(1);
    ASSERT_EQ(row.size(), rows_.cols());
    std::ranges::copy(rows_.row(m), row.begin());
  }
  /// How often each was made.
  std::vector<int> made() const { return {made_.begin(), made_.end()}; }

 private:
  MatrixView<const float> rows_;
  std::span<const std::int32_t> positions_;
  Matrix poison_;
  std::vector<std::atomic<int>> made_;
  RowMaker make_{*this};
};

template <class M>
class MadeRowsTest : public MethodTest<M> {
 protected:
  /// As many rows as take several parts of every thread, most at positions past the calibrated.
  static constexpr std::size_t kMost = 70;

  static Matrix rows_of(const Problem& problem) {
    Rng rng(11, "made rows");
    Matrix rows(kMost, kIn);
    for (std::size_t m = 0; m < kMost; ++m)
      for (std::size_t k = 0; k < kIn; ++k)
        rows(m, k) = problem.rows(m % kRows, k) * (0.5F + static_cast<float>(rng.below(4)));
    return rows;
  }

  static void expect_the_same(const PackedSite& given, const PackedSite& making,
                              const Matrix& all) {
    std::vector<std::int32_t> positions;
    for (std::size_t m = 0; m < kMost; ++m) positions.push_back(static_cast<std::int32_t>(m));
    for (const std::size_t threads : {1U, 3U}) {
      ThreadPool pool(threads);
      for (const std::size_t count : {std::size_t{1}, std::size_t{5}, kMost, std::size_t{0}}) {
        SCOPED_TRACE(::testing::Message() << count << " rows with " << threads << " threads");
        const Rows x{all.view().rows_from(0, count), std::span(positions).first(count)};
        Maker maker(x.values, x.positions);
        const Matrix expected = MadeRowsTest::run(given, x, pool);
        const Matrix y = MadeRowsTest::run(making, maker.rows(), pool);
        EXPECT_TRUE(same_bits(y.span(), expected.span()));
        EXPECT_EQ(maker.made(), std::vector<int>(count, 1));
        EXPECT_EQ(making.counts(), given.counts());
      }
    }
  }
};

TYPED_TEST_SUITE(MadeRowsTest, AsTypes<AllMethods>::type, MethodName);

TYPED_TEST(MadeRowsTest, AreMadeByTenderUnlessRowsLookAtOthersAndByRoundedBlocks) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const Json resolved = entry.resolve(options);
    const bool expected =
        entry.name == "tender"
            ? resolved.at("mode") != "dynamic" && resolved.at("numerics") != "compat"
            : entry.name == "gguf" && resolved.at("activation_granularity") != "none";
    const auto site = this->quantize(entry, options, problem);
    EXPECT_EQ(site->makes_rows(), expected);
    site->prepare(host_isa());
    EXPECT_EQ(site->makes_rows(), expected);
  });
}

TYPED_TEST(MadeRowsTest, GiveTheBitsOfRowsThatAreThereAndEachIsMadeOnce) {
  this->for_each([this](const MethodEntry& entry, const Json& options, const Problem& problem) {
    const auto stored = this->quantize(entry, options, problem);
    if (!stored->makes_rows()) return;
    const auto parts = this->parts_of(*stored);
    const Matrix rows = this->rows_of(problem);
    for (const Isa isa : {Isa::scalar, host_isa()}) {
      const auto given = this->load(entry, parts), making = this->load(entry, parts);
      given->prepare(host_isa());
      making->prepare(isa);
      SCOPED_TRACE(making->kernel());
      this->expect_the_same(*given, *making, rows);
    }
  });
}

using MadeTenderRows = MadeRowsTest<Tender>;

TEST_F(MadeTenderRows, OfFourBitsAreTurnedToo) {
  for (const char* mode : {"static", "row-scaled", "one-row"}) {
    SCOPED_TRACE(mode);
    const Json options = {
        {"weight_bits", 4}, {"activation_bits", 4}, {"rotation", "hadamard"}, {"mode", mode}};
    const MethodEntry& entry = method("tender");
    const Problem problem(true, false);
    const auto given = prepared(entry, options, problem, host_isa());
    const auto making = prepared(entry, options, problem, host_isa());
    ASSERT_TRUE(making->makes_rows());
    expect_the_same(*given, *making, rows_of(problem));
  }
}

TEST(MadeFloatRows, AreNotMade) {
  const Problem problem(false, false);
  EXPECT_FALSE(float_site(problem.views())->makes_rows());
}

}  // namespace
}  // namespace tender::quant
