// What becomes of a quantization that was interrupted.

#include <nlohmann/json.hpp>

#include "compress/journal.h"
#include "compress/quantize_test_support.h"
#include "quant/registry.h"
#include "tests/support/kill_process.h"

namespace tender::compress {
namespace {

class ResumeTest : public QuantizeTest {
 protected:
  /// Stops in the second layer, so that the first is whole.
  void interrupt(const QuantizeRequest& request) {
    notes_.stop_at = "quantizing model.layers.1";
    EXPECT_EQ(refused(request).code(), "CANCELLED");
    notes_.stop_at.clear();
    notes_.stopped = false;
    notes_.text.clear();
    EXPECT_TRUE(fs::exists(unfinished(request)));
  }
  static fs::path unfinished(const QuantizeRequest& request) {
    return request.output.string() + ".unfinished";
  }
};

TEST_F(ResumeTest, AnInterruptedRunGoesOnFromItsLastWholeLayerToTheSameBytes) {
  for (const quant::MethodEntry& method : quant::all_methods()) {
    const std::string name(method.name);
    auto whole = request(name + "-whole", name);
    auto again = request(name + "-again", name);
    if (method.traits(Json::object()).wants_inputs) {
      whole.save_calibration = folder_ / (name + "-whole.calibration");
      again.save_calibration = folder_ / (name + "-again.calibration");
    }
    run(whole);
    interrupt(again);
    const Report report = run(again);
    EXPECT_THAT(notes_.text, HasSubstr("1 of 2 layers are done"));
    EXPECT_EQ(report.layers.size(), 2U * 7U);
    EXPECT_FALSE(fs::exists(unfinished(again)));
    EXPECT_EQ(model_of(again.output), model_of(whole.output)) << name;
    if (whole.save_calibration) {
      EXPECT_EQ(read_text(*again.save_calibration), read_text(*whole.save_calibration));
    }
  }
}

TEST_F(ResumeTest, WhatAttentionReachesIsKeptWithItsLayer) {
  for (const char* method : {"tender", "gptq", "rtn"}) {
    auto whole = request(std::string(method) + "-whole", method);
    whole.recipe.attention = model::AttentionBits{8, 4};
    auto again = whole;
    again.output = folder_ / (std::string(method) + "-again");
    run(whole);
    interrupt(again);
    run(again);
    EXPECT_EQ(model_of(again.output), model_of(whole.output)) << method;
  }
  auto other = request("tender-again");
  other.overwrite = Overwrite::replace;
  other.recipe.attention = model::AttentionBits{8, 4};
  fs::remove_all(other.output);
  interrupt(other);
  other.recipe.attention->cache = 8;
  EXPECT_EQ(refused(other).code(), "RUN_OTHER");
}

// A layer that is there passes as a whole; in the next one rows stop behind the attention, unless
// nothing there is quantized.
TEST_F(ResumeTest, WhateverIsQuantizedOfALayerTheRowsOfTheNextAreTheSame) {
  auto seen = request("seen", "tender", R"({"weight_bits": 4})");
  seen.save_calibration = folder_ / "seen.calibration";
  run(seen);
  struct Case {
    const char* name;
    std::vector<std::string> keep_float;
    bool stored = false;
  };
  for (const auto& [name, keep_float, stored] :
       {Case{"attention", {"gate_up", "down_proj"}}, Case{"mlp", {"qkv", "o_proj"}},
        Case{"second-of-each", {"qkv", "gate_up"}}, Case{"stored", {}, true}}) {
    SCOPED_TRACE(name);
    auto whole = request(std::string(name) + "-whole", "tender", R"({"weight_bits": 4})");
    whole.recipe.keep_float = keep_float;
    whole.recipe.head_bits = 4;
    if (stored) whole.load_calibration = seen.save_calibration;
    if (!stored) whole.recipe.attention = model::AttentionBits{8, 8};
    auto again = whole;
    again.output = folder_ / (std::string(name) + "-again");
    run(whole);
    interrupt(again);
    run(again, 2);
    EXPECT_EQ(model_of(again.output), model_of(whole.output));
  }
}

TEST_F(ResumeTest, AProcessThatWasKilledIsContinuedToTheSameBytes) {
  struct Case {
    const char* method;
    const char* options;
  };
  for (const auto& [method, options] :
       {Case{"gptq", "{}"}, Case{"tender", "{}"},
        Case{"tender", R"({"mode": "static", "chunk_rows": 16})"},
        Case{"tender", R"({"weight_bits": 4, "weight_search": "gptq"})"}}) {
    SCOPED_TRACE(std::string(method) + " " + options);
    const auto whole = request("whole", method, options);
    run(whole);
    const auto expected = model_of(whole.output);
    for (const char* place : {"quantizing model.layers.0", "quantizing model.layers.1"}) {
      const auto again = request("again", method, options);
      ASSERT_TRUE(testing::killed({"", place}, [&](Progress& kill) {
        ThreadPool pool(1);
        quantize(*io::open_checkpoint(model()), again, host_isa(), pool, kill);
      })) << place;
      ASSERT_TRUE(fs::exists(unfinished(again)));
      EXPECT_FALSE(fs::exists(again.output));
      notes_.text.clear();
      run(again);
      EXPECT_EQ(notes_.text.find("1 of 2 layers are done") != std::string::npos,
                std::string_view(place).ends_with("1"));
      EXPECT_FALSE(fs::exists(unfinished(again)));
      EXPECT_EQ(model_of(again.output), expected) << place;
      fs::remove_all(again.output);
    }
    fs::remove_all(whole.output);
  }
}

TEST_F(ResumeTest, OfAnotherRecipeTextOrModelIsRefusedWithTheDifference) {
  const auto first = request("out");
  interrupt(first);
  auto other = request("out", "tender", R"({"weight_bits": 4})");
  Error error = refused(other);
  EXPECT_EQ(error.code(), "RUN_OTHER");
  EXPECT_EQ(error.details().item, "options");
  EXPECT_THAT(error.details().hint, HasSubstr("--restart"));
  other = request("out");
  other.windows.seed = 4;
  EXPECT_EQ(refused(other).details().item, "calibration.seed");
  testing::write_tiny_model(model(), {.seed = 2});
  EXPECT_EQ(refused(first).details().item, "model");
  EXPECT_TRUE(fs::exists(unfinished(first))) << "a refusal does not take the work away";
}

TEST_F(ResumeTest, StartsOverWhereItIsToldTo) {
  interrupt(request("out"));
  auto other = request("out", "tender", R"({"weight_bits": 4})");
  other.restart = true;
  run(other);
  EXPECT_EQ(notes_.text.find("interrupted"), std::string::npos);
  EXPECT_FALSE(fs::exists(unfinished(other)));
}

TEST_F(ResumeTest, WhatWasDamagedIsToldApartFromWhatIsAnothers) {
  const auto damaged = request("out");
  interrupt(damaged);
  const fs::path layer = unfinished(damaged) / "layer-00000" / "model.safetensors";
  write_text(layer, read_text(layer).substr(0, 4000));
  EXPECT_EQ(refused(damaged).kind(), ErrorKind::corrupt_file);
  write_text(unfinished(damaged) / "journal.json", "{}");
  EXPECT_EQ(refused(damaged).code(), "RUN_DAMAGED");
  write_text(unfinished(damaged) / "thesis.txt", "years of work");
  EXPECT_EQ(refused(damaged).code(), "RUN_DAMAGED");
  auto restarted = damaged;
  restarted.restart = true;
  EXPECT_EQ(refused(restarted).code(), "RUN_DAMAGED") << "not even then is it removed";
  EXPECT_TRUE(fs::exists(unfinished(damaged) / "thesis.txt"));
}

TEST_F(ResumeTest, ALayerWhoseNoteOrPartsAreNotThoseOfALayerIsRefused) {
  const auto damaged = request("out");
  interrupt(damaged);
  const fs::path layer = unfinished(damaged) / "layer-00000" / "model.safetensors";
  std::string bytes = read_text(layer);
  const std::size_t at = bytes.find("tender_groups");  // a part by another name is one that lacks
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'T';
  write_text(layer, bytes);
  EXPECT_EQ(refused(damaged).code(), "RUN_DAMAGED");
}

TEST_F(ResumeTest, WithACalibrationOfItsOwnIsNotContinuedWithout) {
  auto saving = request("first");
  saving.save_calibration = folder_ / "seen";
  run(saving);
  auto loading = request("out");
  loading.load_calibration = saving.save_calibration;
  interrupt(loading);
  EXPECT_EQ(refused(request("out")).details().item, "stored calibration");
}

TEST_F(ResumeTest, OneProcessAtATimeWritesAnOutput) {
  const auto busy = request("out");
  const Journal journal(busy.output, {}, false);
  EXPECT_EQ(refused(busy).code(), "RUN_BUSY");
}

}  // namespace
}  // namespace tender::compress
