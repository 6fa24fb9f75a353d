// Kinds of sites that a recipe leaves in float.

#include <algorithm>

#include "base/thread_pool.h"
#include "compress/quantize_test_support.h"
#include "model/model.h"

namespace tender::compress {
namespace {

TEST_F(QuantizeTest, KindsThatStayFloatAreFloatInTheModelAndTheOthersAreAsWithoutThem) {
  run(request("all"));
  for (const char* name : {"mlp.down_proj", "down_proj"}) {
    auto some = request(name);
    some.recipe.keep_float = {name};
    const Report report = run(some);
    EXPECT_EQ(report.keep_float, (std::vector<std::string>{"mlp.down_proj"}));
    EXPECT_EQ(report.layers.size(), 2U * 6U);
    const Json config = Json::parse(read_text(folder_ / name / "config.json"));
    EXPECT_EQ(config["quantization_config"]["ignore"],
              Json({"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"}));
    const auto whole = io::open_checkpoint(folder_ / "all");
    const auto checkpoint = io::open_checkpoint(folder_ / name);
    ThreadPool pool(1);
    const auto loaded = model::load_model(*checkpoint, host_isa(), pool, notes_);
    for (std::size_t s = 0; s < loaded->sites().size(); ++s) {
      const bool down = model::site_kind(loaded->sites()[s].name) == "mlp.down_proj";
      EXPECT_EQ(loaded->site(s).method(), down ? "float" : "tender") << loaded->sites()[s].name;
    }
    for (const TensorInfo& tensor : checkpoint->tensors().tensors()) {
      const TensorInfo* twin = whole->tensors().find(tensor.name);
      if (tensor.name.find("down_proj.weight") != std::string::npos)
        EXPECT_EQ(twin, nullptr) << tensor.name;
      else
        EXPECT_TRUE(std::ranges::equal(twin->bytes, tensor.bytes)) << tensor.name;
    }
  }
}

TEST_F(QuantizeTest, SequentialMethodsSeeRowsThatComeOutOfTheFloatSites) {
  auto some = request("some", "gptq");
  some.recipe.keep_float = {"qkv", "o_proj", "gate_up"};
  EXPECT_EQ(run(some).layers.size(), 2U);
}

TEST_F(QuantizeTest, AttentionIsCalibratedWhereNothingBehindItIsQuantized) {
  auto some = request("some", "gptq");
  some.recipe.attention = model::AttentionBits{8, 8};
  run(some);
  some.output = folder_ / "first";
  some.recipe.keep_float = {"o_proj", "gate_up", "down_proj"};
  run(some);
  const auto checkpoint = io::open_checkpoint(folder_ / "first");
  const auto whole = io::open_checkpoint(folder_ / "some");
  std::size_t parts = 0;
  for (const TensorInfo& tensor : whole->tensors().tensors()) {
    if (tensor.name.find(".key_") == std::string::npos) continue;
    const TensorInfo* twin = checkpoint->tensors().find(tensor.name);
    ASSERT_NE(twin, nullptr) << tensor.name;
    EXPECT_EQ(twin->bytes.size(), tensor.bytes.size());
    if (tensor.name.find("layers.0.") == std::string::npos) continue;
    // The rows of the first layer come out of the same q, k and v.
    EXPECT_TRUE(std::ranges::equal(twin->bytes, tensor.bytes)) << tensor.name;
    ++parts;
  }
  EXPECT_GT(parts, 0U);
}

TEST_F(QuantizeTest, ARunWithFloatSitesGoesOnToTheSameBytes) {
  for (const char* method : {"tender", "gptq"}) {
    const std::string name(method);
    auto whole = request(name + "-whole", method);
    whole.recipe.keep_float = {"o_proj"};
    run(whole);
    auto cut = whole;
    cut.output = folder_ / (name + "-cut");
    notes_.stop_at = "quantizing model.layers.1";
    EXPECT_EQ(refused(cut).code(), "CANCELLED");
    notes_.stopped = false;
    notes_.stop_at.clear();
    run(cut);
    EXPECT_TRUE(read_text(whole.output / "model.safetensors") ==
                read_text(cut.output / "model.safetensors"));
  }
}

TEST_F(QuantizeTest, ACalibrationIsKeptOfAllSitesOrNone) {
  auto some = request("some");
  some.recipe.keep_float = {"o_proj"};
  some.save_calibration = folder_ / "seen";
  EXPECT_EQ(refused(some).code(), "CALIBRATION_CONFLICT");
  auto all = request("all");
  all.save_calibration = folder_ / "seen";
  run(all);
  some.save_calibration.reset();
  some.calibration.reset();
  some.load_calibration = folder_ / "seen";
  EXPECT_EQ(run(some).layers.size(), 2U * 6U);
}

TEST_F(QuantizeTest, AKindThatTheModelLacksAndAModelWithNothingLeftAreRefused) {
  auto wrong = request("wrong");
  wrong.recipe.keep_float = {"fc1"};
  const Error unknown = refused(wrong);
  EXPECT_EQ(unknown.code(), "KEEP_FLOAT");
  EXPECT_THAT(unknown.what(), HasSubstr("mlp.down_proj"));
  wrong.recipe.keep_float = {"qkv", "o_proj", "gate_up", "down_proj"};
  const Error nothing = refused(wrong);
  EXPECT_EQ(nothing.code(), "KEEP_FLOAT");
  EXPECT_THAT(nothing.what(), HasSubstr("nothing is left"));
}

TEST_F(QuantizeTest, ARunThatWasInterruptedGoesOnOnlyWithTheSameFloatSites) {
  auto first = request("out");
  notes_.stop_at = "quantizing model.layers.1";
  EXPECT_EQ(refused(first).code(), "CANCELLED");
  notes_.stopped = false;
  notes_.stop_at.clear();
  first.recipe.keep_float = {"o_proj"};
  EXPECT_EQ(refused(first).code(), "RUN_OTHER");
}

}  // namespace
}  // namespace tender::compress
