// A model that is evaluated layer by layer gives the numbers of the whole one.

#include "eval/evaluated_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "compress/quantize.h"
#include "eval/compare.h"
#include "eval/perplexity.h"
#include "eval/toy_model_test_support.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::eval {
namespace {

constexpr std::size_t kSeqlen = 40;

class EvaluatedModelTest : public ::testing::Test {
 protected:
  EvaluatedModelTest() {
    testing::write_tiny_model(folder_ / "tiny");
    testing::write_text(folder_ / "text.txt", testing::tiny_text(2000));
    compress::QuantizeRequest request;
    request.output = folder_ / "tender";
    request.recipe = {.method = "tender", .options = "{}", .head_bits = 8};
    request.recipe.attention = model::AttentionBits{8, 4};
    request.calibration = folder_ / "text.txt";
    request.windows = {.samples = 4, .seqlen = 32, .seed = 0};
    request.tool_version = "test";
    float_ = io::open_checkpoint(folder_ / "tiny");
    compress::quantize(*float_, request, host_isa(), pool_, silent_);
    quantized_ = io::open_checkpoint(folder_ / "tender");
    tokenizer_ = text::open_tokenizer(*float_);
  }

  PerplexityPlan plan(std::optional<std::size_t> limit = {}) const {
    return plan_perplexity(input_of(testing::tiny_text(700)), *tokenizer_,
                           {.seqlen = kSeqlen, .limit = limit});
  }
  /// Of so many windows of the tiny model.
  std::size_t rows(std::size_t windows) const {
    return windows * kSeqlen * model::read_spec(*float_).info.width * sizeof(float);
  }
  std::unique_ptr<EvaluatedModel> by_layer(const io::Checkpoint& checkpoint, std::size_t windows) {
    return evaluate_by_layer(checkpoint, host_isa(), rows(windows), silent_);
  }
  std::unique_ptr<model::Model> load(const io::Checkpoint& checkpoint) {
    return model::load_model(checkpoint, host_isa(), pool_, silent_);
  }

  testing::TemporaryFolder folder_;
  ThreadPool pool_{2};
  Progress silent_;
  std::unique_ptr<io::Checkpoint> float_, quantized_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

TEST_F(EvaluatedModelTest, LayerByLayerPerplexityHasTheBitsOfTheWholeModel) {
  const auto cut = plan();
  ASSERT_GT(cut.windows, 4U);
  for (const io::Checkpoint* checkpoint : {float_.get(), quantized_.get()}) {
    const auto whole = run_perplexity(*load(*checkpoint), cut, pool_, silent_);
    for (const std::size_t at_once : {0U, 1U, 3U, 1000U}) {
      const auto result = run_perplexity(*by_layer(*checkpoint, at_once), cut, pool_, silent_);
      EXPECT_EQ(result.perplexity, whole.perplexity) << at_once;
      EXPECT_EQ(result.cross_entropies, whole.cross_entropies);
      EXPECT_EQ(result.windows, whole.windows);
    }
  }
}

TEST_F(EvaluatedModelTest, AComparisonMayMixBothKinds) {
  const auto cut = plan();
  const auto base = load(*float_), other = load(*quantized_);
  const auto compare = [&](EvaluatedModel& first, EvaluatedModel& second) {
    const std::vector<NamedModel> models = {{"tender", &second}};
    return to_json(run_comparison({"float", &first}, models, cut, pool_, silent_).models[0]).dump();
  };
  const std::string whole = compare(*evaluate_whole(*base), *evaluate_whole(*other));
  EXPECT_EQ(compare(*by_layer(*float_, 2), *by_layer(*quantized_, 3)), whole);
  EXPECT_EQ(compare(*evaluate_whole(*base), *by_layer(*quantized_, 3)), whole);
}

TEST_F(EvaluatedModelTest, FactsAreThoseOfTheWholeModelAndTheMemoryIsLess) {
  const auto whole = facts_of(*load(*quantized_));
  const auto streamed = by_layer(*quantized_, 2);
  run_perplexity(*streamed, plan(2), pool_, silent_);
  const ModelFacts& facts = streamed->facts();
  EXPECT_EQ(kernels_of(facts), kernels_of(whole));
  EXPECT_EQ(method_of(facts), "tender");
  EXPECT_EQ(to_json(size_of(*quantized_, facts)), to_json(size_of(*quantized_, whole)));
  EXPECT_LT(facts.resident_bytes, whole.resident_bytes);
  EXPECT_TRUE(facts.layerwise);
  EXPECT_FALSE(whole.layerwise);
}

TEST_F(EvaluatedModelTest, CountsAreThoseOfTheWholeModelAndOfEveryWindow) {
  compress::QuantizeRequest request;
  request.output = folder_ / "static";
  request.recipe = {.method = "tender", .options = R"({"mode": "static", "chunk_rows": 16})"};
  request.calibration = folder_ / "text.txt";
  request.windows = {.samples = 4, .seqlen = 32, .seed = 0};
  request.tool_version = "test";
  compress::quantize(*float_, request, host_isa(), pool_, silent_);
  const auto quantized = io::open_checkpoint(folder_ / "static");
  const auto model = load(*quantized);
  const auto whole = evaluate_whole(*model);
  EXPECT_EQ(counts_of(whole->facts()), OrderedJson::object());
  run_perplexity(*whole, plan(5), pool_, silent_);
  const OrderedJson counts = counts_of(whole->facts());
  ASSERT_FALSE(counts.empty());
  const std::uint64_t rows = 5 * (kSeqlen - 1) * model->info().layers;
  for (const auto& kind : counts.items()) {
    EXPECT_EQ(kind.value()["rows"], rows) << kind.key();
    EXPECT_EQ(kind.value()["beyond"], 5 * (kSeqlen - 1 - 32) * model->info().layers);
    EXPECT_LT(kind.value()["clipped"], kind.value()["values"]);
  }
  EXPECT_NE(counts_line(whole->facts()).find("rows past the calibrated positions"),
            std::string::npos);
  for (const std::size_t at_once : {1U, 2U, 1000U}) {
    const auto streamed = by_layer(*quantized, at_once);
    run_perplexity(*streamed, plan(5), pool_, silent_);
    EXPECT_EQ(counts_of(streamed->facts()), counts) << at_once;
  }
  const auto none = load(*quantized_);  // whatever its modes, counts are of static sites alone
  EXPECT_EQ(counts_line(facts_of(*none)), "");
}

TEST_F(EvaluatedModelTest, EndedWithinALayerTheWindowsBeforeStay) {
  const auto cut = plan();
  const std::size_t steps = 2;  // layers of the tiny model
  StopAfter progress(3 * steps + 1);
  const auto result = run_perplexity(*by_layer(*float_, 3), cut, pool_, progress);
  EXPECT_EQ(progress.total_, cut.windows * steps);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.windows, 3U);
  const auto limited = run_perplexity(*load(*float_), plan(3), pool_, silent_);
  EXPECT_EQ(result.perplexity, limited.perplexity);
  StopAfter at_once(1);
  EXPECT_THROW(run_perplexity(*by_layer(*float_, 3), cut, pool_, at_once), Error);
}

TEST_F(EvaluatedModelTest, MemoryDecidesHowModelsAreOpened) {
  const std::array<const io::Checkpoint*, 2> both = {float_.get(), quantized_.get()};
  const std::uint64_t parameters = 2 * model::read_spec(*float_).info.parameters;
  EXPECT_TRUE(fits_whole(parameters, 4 * parameters));
  EXPECT_FALSE(fits_whole(parameters, 4 * parameters - 1));
  for (const auto& each : open_evaluated(both, 4 * parameters, host_isa(), pool_, silent_))
    EXPECT_FALSE(each->facts().layerwise);
  for (const auto& each : open_evaluated(both, 4 * parameters - 1, host_isa(), pool_, silent_)) {
    EXPECT_TRUE(each->facts().layerwise);
    EXPECT_GE(each->windows_at_once(kSeqlen), 1U);
  }
}

TEST_F(EvaluatedModelTest, ATokenThatIsNoneIsRefused) {
  const std::vector<std::vector<text::TokenId>> windows = {{1, 1 << 20, 2}};
  std::vector<Matrix> hidden(1);
  EXPECT_THROW(by_layer(*float_, 1)->run(windows, 0, hidden, pool_, [] { return true; }), Error);
}

}  // namespace
}  // namespace tender::eval
