// Kinds of sites that a recipe leaves in float.

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

TEST_F(QuantizeTest, AKindThatTheModelLacksAndAModelWithNothingLeftAreRefused) {
  auto wrong = request("wrong");
  wrong.recipe.keep_float = {"fc1"};
  const Error unknown = refused(wrong);
  EXPECT_EQ(unknown.code(), "KEEP_FLOAT");
  EXPECT_THAT(unknown.what(), HasSubstr("mlp.down_proj"));
  wrong.recipe.keep_float = {"qkv", "o_proj", "gate_up", "down_proj"};
  EXPECT_EQ(refused(wrong).code(), "KEEP_FLOAT");
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
