// A model layer by layer is the same model.

#include <algorithm>
#include <array>

#include "base/rng.h"
#include "model/test_support.h"
#include "quant/registry.h"

namespace tender::model {
namespace {

struct Loaded {
  explicit Loaded(const std::string& name)
      : checkpoint(io::open_checkpoint(golden_path(name))),
        spec(read_spec(*checkpoint)),
        weights(*checkpoint, spec),
        layerwise(load_layerwise(*checkpoint, spec, weights, host_isa(), silent)) {}

  std::unique_ptr<io::Checkpoint> checkpoint;
  ModelSpec spec;
  WeightReader weights;
  Progress silent;
  std::unique_ptr<LayerwiseModel> layerwise;
};

std::vector<TokenId> tokens_of(const ModelSpec& spec) {
  Rng rng(3, "layerwise");
  std::vector<TokenId> ids(11);
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.below(spec.info.vocabulary));
  return ids;
}

/// Rows of every site, in order.
struct Recorder : SiteObserver {
  std::vector<std::pair<std::size_t, Matrix>> seen;
  void observe(std::size_t site, const Rows& rows) override {
    Matrix copy(rows.values.rows(), rows.values.cols());
    for (std::size_t m = 0; m < copy.rows(); ++m)
      std::ranges::copy(rows.values.row(m), copy.row(m).begin());
    seen.emplace_back(site, std::move(copy));
  }
};

class Layerwise : public ::testing::TestWithParam<const char*> {};

TEST_P(Layerwise, GivesTheLogitsAndTheRowsOfTheWholeModelBitForBit) {
  Loaded loaded(GetParam());
  ThreadPool pool(2);
  const auto ids = tokens_of(loaded.spec);
  Recorder one_by_one, whole;
  Matrix rows(ids.size(), loaded.spec.info.width);
  loaded.layerwise->embed(ids, rows.view(), pool);
  for (std::size_t n = 0; n < loaded.spec.info.layers; ++n) {
    loaded.layerwise->enter(n);
    loaded.layerwise->run(rows.view(), pool, &one_by_one);
  }
  loaded.layerwise->finish(rows.view(), pool);
  Matrix logits(ids.size(), loaded.spec.info.vocabulary);
  loaded.layerwise->logits(rows.view(), logits.view(), pool);

  const auto model = load(golden_path(GetParam()));
  EXPECT_TRUE(same_bits(logits, run_model(*model, ids)));
  const auto sequence = model->sequence(ids.size());
  const BatchItem item{sequence.get(), ids, 0};
  Matrix hidden;
  model->forward({&item, 1}, hidden, pool, &whole);
  ASSERT_EQ(one_by_one.seen.size(), loaded.spec.sites.size());
  ASSERT_EQ(whole.seen.size(), loaded.spec.sites.size());
  for (std::size_t s = 0; s < whole.seen.size(); ++s) {
    EXPECT_EQ(one_by_one.seen[s].first, s);
    EXPECT_TRUE(same_bits(one_by_one.seen[s].second, whole.seen[s].second)) << "site " << s;
  }
}

TEST_P(Layerwise, APassEndsWhereItIsToldTo) {
  Loaded loaded(GetParam());
  ThreadPool pool(1);
  const auto ids = tokens_of(loaded.spec);
  Matrix embedded(ids.size(), loaded.spec.info.width);
  loaded.layerwise->embed(ids, embedded.view(), pool);
  loaded.layerwise->enter(0);
  const auto [first, end] = loaded.spec.sites_of(0);
  for (std::size_t last = first; last < end; ++last) {
    Recorder recorder;
    Matrix rows = embedded.copy();
    loaded.layerwise->run(rows.view(), pool, &recorder, last);
    ASSERT_EQ(recorder.seen.size(), last - first + 1);
    EXPECT_EQ(recorder.seen.back().first, last);
  }
}

TEST_P(Layerwise, ASiteThatIsReplacedIsTheOneThatRuns) {
  Loaded loaded(GetParam());
  ThreadPool pool(1);
  const auto ids = tokens_of(loaded.spec);
  Matrix rows(ids.size(), loaded.spec.info.width);
  loaded.layerwise->embed(ids, rows.view(), pool);
  Matrix changed = rows.copy();
  loaded.layerwise->enter(0);
  loaded.layerwise->run(rows.view(), pool);
  const std::size_t last = loaded.spec.sites_of(0).end - 1;
  const quant::SiteShape& shape = loaded.spec.sites[last].shape;
  Matrix zeros(shape.outs[0], shape.in);
  std::ranges::fill(zeros.span(), 0.0F);
  const std::array<MatrixView<const float>, 1> weights = {zeros.view()};
  auto site = quant::float_site(weights);
  site->prepare(host_isa());
  loaded.layerwise->replace(last, std::move(site));
  loaded.layerwise->run(changed.view(), pool);
  EXPECT_FALSE(same_bits(rows, changed));
}

TEST_P(Layerwise, TokensOutsideTheVocabularyAreRefused) {
  Loaded loaded(GetParam());
  ThreadPool pool(1);
  const std::vector<TokenId> ids = {0, static_cast<TokenId>(loaded.spec.info.vocabulary)};
  Matrix rows(ids.size(), loaded.spec.info.width);
  EXPECT_EQ(error_of([&] { loaded.layerwise->embed(ids, rows.view(), pool); }).code(), "TOKEN_ID");
}

INSTANTIATE_TEST_SUITE_P(GoldenModels, Layerwise, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace tender::model
