// Models of all architectures against logits that oracle/make_model_golden.py computed with
// transformers.

#include <algorithm>

#include "model/archs.h"
#include "model/test_support.h"

namespace tender::model {
namespace {

class GoldenModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Model> model_ = load(golden_path(GetParam()));
  Json golden_ = read_json(golden_path(std::string(GetParam()) + ".json"));
  std::vector<TokenId> ids(std::size_t n) const {
    return golden_["sequences"][n].get<std::vector<TokenId>>();
  }
};

TEST_P(GoldenModelTest, AgreesWithTransformersWithinTheBoundOfFloat32) {
  for (std::size_t n = 0; n < golden_["sequences"].size(); ++n)
    // the golden file says how it was found: what rounding errors of every sum can do to a logit
    EXPECT_LE(distance(run_model(*model_, ids(n)), golden_["logits"][n]),
              golden_["bound"].get<double>());
}

TEST_P(GoldenModelTest, PiecewiseIsTheSameAsWhole) {
  const Matrix whole = run_model(*model_, ids(0));
  const std::size_t length = ids(0).size();
  EXPECT_TRUE(same_bits(whole, run_model(*model_, ids(0), 1, std::vector<std::size_t>(length, 1))));
  EXPECT_TRUE(same_bits(whole, run_model(*model_, ids(0), 1, {5, 1, 1, length - 7})));
}

TEST_P(GoldenModelTest, ABatchOfSequencesIsTheSameAsEachAlone) {
  ThreadPool pool(2);
  const std::size_t count = golden_["sequences"].size();
  std::vector<std::vector<TokenId>> all;
  for (std::size_t n = 0; n < count; ++n) all.push_back(ids(n));
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<BatchItem> first;
  std::vector<BatchItem> second;  // in another order, so that rows stand elsewhere
  for (std::size_t n = 0; n < count; ++n) {
    sequences.push_back(model_->sequence(30));
    first.push_back(
        {sequences[n].get(), std::span<const TokenId>(all[n]).first(all[n].size() / 2), 0});
    second.push_back(
        {sequences[n].get(), std::span<const TokenId>(all[n]).subspan(all[n].size() / 2), 0});
  }
  std::ranges::reverse(second);
  Matrix hidden;
  model_->forward(first, hidden, pool);
  model_->forward(second, hidden, pool);
  Matrix logits(hidden.rows(), model_->info().vocabulary);
  model_->logits(hidden.view(), logits.view(), pool);
  std::size_t row = 0;
  for (std::size_t n = count; n-- > 0;) {
    const Matrix alone = run_model(*model_, all[n]);
    for (std::size_t i = all[n].size() / 2; i < all[n].size(); ++i, ++row)
      EXPECT_TRUE(std::ranges::equal(alone.row(i), logits.row(row)))
          << "sequence " << n << ", token " << i;
  }
  EXPECT_EQ(row, logits.rows());
}

TEST_P(GoldenModelTest, AnyNumberOfThreadsGivesTheSameBits) {
  const Matrix one = run_model(*model_, ids(0), 1);
  EXPECT_TRUE(same_bits(one, run_model(*model_, ids(0), 2)));
  EXPECT_TRUE(same_bits(one, run_model(*model_, ids(0), 3)));
}

TEST_P(GoldenModelTest, EveryInstructionSetGivesTheSameBits) {
  const Matrix scalar = run_model(*load(golden_path(GetParam()), allowed_isa("scalar")), ids(0));
  for (const char* name : {"avx2", "avx512", "native"}) {
    const auto allowed = static_cast<std::uint32_t>(allowed_isa(name));
    const auto isa = static_cast<Isa>(allowed & static_cast<std::uint32_t>(detected_isa()));
    EXPECT_TRUE(same_bits(scalar, run_model(*load(golden_path(GetParam()), isa), ids(0)))) << name;
  }
}

TEST_P(GoldenModelTest, TruncatingEqualsNeverHavingAppended) {
  ThreadPool pool(1);
  const std::vector<TokenId> text = ids(0);
  const auto sequence = model_->sequence(text.size());
  Matrix hidden;
  const std::vector<TokenId> other(9, text.back());
  const BatchItem some[] = {{sequence.get(), std::span(text).first(10), 0},
                            {sequence.get(), other, 0}};
  model_->forward({some, 1}, hidden, pool);
  model_->forward({some + 1, 1}, hidden, pool);
  sequence->truncate(10);
  const BatchItem rest{sequence.get(), std::span(text).subspan(10), 0};
  model_->forward({&rest, 1}, hidden, pool);
  Matrix logits(hidden.rows(), model_->info().vocabulary);
  model_->logits(hidden.view(), logits.view(), pool);
  const Matrix whole = run_model(*model_, text);
  EXPECT_TRUE(std::ranges::equal(logits.span(), whole.span().subspan(10 * whole.cols())));
}

/// Notes which sites were shown, and the positions of the rows.
class Recorder : public SiteObserver {
 public:
  void observe(std::size_t site, const Rows& rows) override {
    sites.push_back(site);
    widths.push_back(rows.values.cols());
    positions.emplace_back(rows.positions.begin(), rows.positions.end());
  }
  std::vector<std::size_t> sites, widths;
  std::vector<std::vector<std::int32_t>> positions;
};

TEST_P(GoldenModelTest, AnObserverSeesEverySiteOfEachSequenceInOrder) {
  ThreadPool pool(1);
  Recorder recorder;
  const auto a = model_->sequence(8);
  const auto b = model_->sequence(8);
  const std::vector<TokenId> text = {3, 4, 5};
  const BatchItem batch[] = {{a.get(), text, 0}, {b.get(), std::span(text).first(2), 0}};
  Matrix hidden;
  model_->forward(batch, hidden, pool, &recorder);
  const std::size_t sites = model_->sites().size();
  ASSERT_EQ(recorder.sites.size(), 2 * sites);
  for (std::size_t i = 0; i < recorder.sites.size(); ++i) {
    EXPECT_EQ(recorder.sites[i], i / 2);
    EXPECT_EQ(recorder.widths[i], model_->sites()[i / 2].shape.in);
    EXPECT_EQ(recorder.positions[i], i % 2 == 0 ? (std::vector<std::int32_t>{0, 1, 2})
                                                : (std::vector<std::int32_t>{0, 1}));
  }
}

TEST_P(GoldenModelTest, TokensOutsideTheVocabularyAndFullContextsAreRefused) {
  ThreadPool pool(1);
  Matrix hidden;
  const auto sequence = model_->sequence(2);
  const auto feed = [&](std::vector<TokenId> ids) {
    const BatchItem item{sequence.get(), ids, 0};
    model_->forward({&item, 1}, hidden, pool);
  };
  EXPECT_EQ(error_of([&] { feed({-1}); }).code(), "TOKEN_ID");
  EXPECT_EQ(error_of([&] { feed({static_cast<TokenId>(model_->info().vocabulary)}); }).code(),
            "TOKEN_ID");
  EXPECT_EQ(error_of([&] { feed({1, 2, 3}); }).code(), "CONTEXT_FULL");
  EXPECT_EQ(sequence->tokens(), 0U);
  feed({1, 2});
  EXPECT_EQ(error_of([&] { feed({1}); }).code(), "CONTEXT_FULL");
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModelTest, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& given) { return std::string(given.param); });

TEST(Golden, EveryFamilyOfEveryArchitectureHasAModel) {
  std::vector<std::string> types;
  for (const char* name : kGoldenModels)
    types.push_back(read_json(golden_path(name) / "config.json")["model_type"].get<std::string>());
  for (const Architecture* arch : kArchitectures)
    for (const HfName& name : arch->hf)
      EXPECT_NE(std::ranges::find(types, name.model_type), types.end()) << name.model_type;
}

TEST(Golden, OptHasNoPlaceBeyondItsPositionTable) {
  EXPECT_EQ(error_of([] { load(golden_path("opt_pre"))->sequence(41); }).code(), "CONTEXT");
  EXPECT_NE(load(golden_path("opt_pre"))->sequence(40), nullptr);
}

}  // namespace
}  // namespace tender::model
