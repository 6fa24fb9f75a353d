// SmolLM2 as the GGUF file that tools/get-model fetches, against transformers
// (oracle/make_smollm2_golden.py).

#include <cstdlib>

#include "model/test_support.h"

namespace tender::model {
namespace {

constexpr const char* kModel = "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

std::filesystem::path model_path() {
  const char* folder = std::getenv("TENDER_MODELS");
  return folder != nullptr ? std::filesystem::path(folder) / kModel
                           : testing::source_path(std::string("models/") + kModel);
}

class SmolLm2Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_path()))
      GTEST_SKIP() << "needs " << model_path()
                   << " (tools/get-model smollm2-135m, or TENDER_MODELS)";
  }
};

TEST_F(SmolLm2Test, SaysWhatTransformersComputesInFloat64) {
  const Json golden = read_json(golden_path("smollm2.json"));
  const double bound = golden["bound"];
  const auto model = load(model_path());
  const Matrix logits = run_model(*model, golden["ids"].get<std::vector<TokenId>>(), 2);
  for (const Json& place : golden["logits"])
    EXPECT_NEAR(logits(place[0], place[1]), place[2].get<double>(), bound) << place;
  for (std::size_t t = 0; t < logits.rows(); ++t) {
    const Json& top = golden["top"][t];
    double sum = 0;
    for (const float logit : logits.row(t)) sum += std::exp(static_cast<double>(logit));
    for (const Json& entry : top) {
      // a logit and the logarithm of the sum are off by a bound each, the file by its seven digits
      const double log_probability = logits(t, entry[0]) - std::log(sum);
      EXPECT_NEAR(log_probability, entry[1].get<double>(), 2 * bound + 1e-7) << "position " << t;
    }
  }
}

TEST_F(SmolLm2Test, DecodingOneByOneIsTheSameAsAWhole) {
  const auto ids = read_json(golden_path("smollm2.json"))["ids"].get<std::vector<TokenId>>();
  const auto model = load(model_path());
  EXPECT_TRUE(same_bits(run_model(*model, ids, 2),
                        run_model(*model, ids, 1, std::vector<std::size_t>(ids.size(), 1))));
}

TEST_F(SmolLm2Test, IsWhatItsMetadataSay) {
  const ModelInfo info = read_spec(*io::open_checkpoint(model_path())).info;
  EXPECT_EQ(info.layers, 30U);
  EXPECT_EQ(info.heads, 9U);
  EXPECT_EQ(info.kv_heads, 3U);
  EXPECT_EQ(info.parameters, 134515008U);
  EXPECT_TRUE(info.tied_head);
}

}  // namespace
}  // namespace tender::model
