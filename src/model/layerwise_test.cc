// A model layer by layer is the same model.

#include <algorithm>
#include <array>
#include <span>

#include "base/rng.h"
#include "model/test_support.h"
#include "quant/registry.h"
#include "quant/rotation/rotation.h"

namespace tender::model {
namespace {

struct Loaded {
  explicit Loaded(const std::string& name)
      : checkpoint(io::open_checkpoint(golden_path(name))),
        spec(read_spec(*checkpoint)),
        weights(*checkpoint, spec),
        layerwise(load_layerwise(*checkpoint, spec, weights, host_isa(), silent)) {}

  /// The rows that enter the first layer.
  Matrix embedded(std::span<const TokenId> ids, ThreadPool& pool) const {
    Matrix rows(ids.size(), spec.info.width);
    layerwise->embed(ids, rows.view(), pool);
    return rows;
  }

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
  Matrix rows = loaded.embedded(ids, pool);
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
  const Matrix embedded = loaded.embedded(ids, pool);
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

TEST_P(Layerwise, ItsTwoPartsAreTheWholeLayerBitForBit) {
  Loaded loaded(GetParam());
  ThreadPool pool(2);
  const auto ids = tokens_of(loaded.spec);
  Matrix whole = loaded.embedded(ids, pool);
  Matrix parts = whole.copy();
  for (std::size_t n = 0; n < loaded.spec.info.layers; ++n) {
    loaded.layerwise->enter(n);
    Recorder of_whole, of_parts, of_mlp;
    loaded.layerwise->run(whole.view(), pool, &of_whole);
    loaded.layerwise->run(parts.view(), pool, &of_parts, std::nullopt, LayerPart::attention);
    EXPECT_EQ(of_parts.seen.size(), loaded.spec.first_mlp_site(n) - loaded.spec.sites_of(n).first);
    Matrix looked_at = parts.copy();
    const std::size_t last = loaded.spec.sites_of(n).end - 1;
    loaded.layerwise->run(looked_at.view(), pool, &of_mlp, last, LayerPart::mlp);
    ASSERT_EQ(of_mlp.seen.size(), of_whole.seen.size() - of_parts.seen.size());
    EXPECT_TRUE(same_bits(of_mlp.seen.back().second, of_whole.seen.back().second));
    loaded.layerwise->run(parts.view(), pool, nullptr, std::nullopt, LayerPart::mlp);
    EXPECT_TRUE(same_bits(parts, whole)) << "layer " << n;
  }
}

TEST_P(Layerwise, ASiteThatIsReplacedIsTheOneThatRuns) {
  Loaded loaded(GetParam());
  ThreadPool pool(1);
  const auto ids = tokens_of(loaded.spec);
  Matrix rows = loaded.embedded(ids, pool);
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

/// A site in float that turns its rows as quantized ones do (docs/adr/0003-rotation.md).
class RotatedFloatSite : public quant::PackedSite {
 public:
  RotatedFloatSite(const SiteSpec& site, const WeightReader& weights, ThreadPool& pool)
      : rotation_(site.shape.in) {
    std::vector<Matrix> turned;
    std::vector<MatrixView<const float>> views;
    for (const std::string& linear : site.linears)
      turned.push_back(rotation_.rotated_weights(weights.matrix(linear + ".weight").view(), pool));
    for (const Matrix& w : turned) views.push_back(w.view());
    product_ = quant::float_site(views);
    product_->prepare(host_isa());
  }
  void matmul(const Rows& x, std::span<const quant::SiteOutput> outputs,
              ThreadPool& pool) const override {
    const Matrix turned = rotation_.rotated(x.values, pool);
    product_->matmul({turned.view(), x.positions}, outputs, pool);
  }

  std::string_view method() const override { return product_->method(); }
  quant::InputRounding inputs() const override { return product_->inputs(); }
  std::string describe() const override { return "rotated, not rounded"; }
  std::size_t linears() const override { return product_->linears(); }
  LinearShape shape(std::size_t linear) const override { return product_->shape(linear); }
  std::size_t bytes() const override { return product_->bytes(); }
  std::size_t resident_bytes() const override { return product_->resident_bytes(); }
  double activation_bits() const override { return product_->activation_bits(); }
  std::string kernel() const override { return product_->kernel(); }
  void reference(const Rows&, std::size_t, MatrixView<double>) const override {}
  void dequantize(std::size_t, MatrixView<float>) const override {}
  void save(PartSink&, std::span<PartSink* const>) const override {}
  void prepare(Isa) override {}

 private:
  quant::Rotation rotation_;
  std::unique_ptr<quant::PackedSite> product_;
};

// Check 17 of tender.md section 9.
TEST_P(Layerwise, TenderCheck17LogitsOfRotatedSitesInFloatAreThoseOfTheModelTo1e4) {
  Loaded loaded(GetParam());
  ThreadPool pool(2);
  const auto ids = tokens_of(loaded.spec);
  Matrix rows = loaded.embedded(ids, pool);
  for (std::size_t n = 0; n < loaded.spec.info.layers; ++n) {
    loaded.layerwise->enter(n);
    const auto [first, end] = loaded.spec.sites_of(n);
    for (std::size_t s = first; s < end; ++s)
      loaded.layerwise->replace(
          s, std::make_unique<RotatedFloatSite>(loaded.spec.sites[s], loaded.weights, pool));
    loaded.layerwise->run(rows.view(), pool);
  }
  loaded.layerwise->finish(rows.view(), pool);
  Matrix logits(ids.size(), loaded.spec.info.vocabulary);
  loaded.layerwise->logits(rows.view(), logits.view(), pool);

  const Matrix expected = run_model(*load(golden_path(GetParam())), ids);
  EXPECT_FALSE(same_bits(logits, expected)) << "rows were turned";
  for (std::size_t m = 0; m < ids.size(); ++m) {
    double largest = 0, off = 0;
    for (std::size_t v = 0; v < logits.cols(); ++v) {
      largest = std::max(largest, std::abs(static_cast<double>(expected(m, v))));
      off = std::max(off, std::abs(static_cast<double>(logits(m, v) - expected(m, v))));
    }
    EXPECT_LE(off, 1e-4 * largest) << "token " << m;
  }
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
