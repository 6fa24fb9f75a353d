// Calibrations that are kept in a file.

#include <nlohmann/json.hpp>

#include "compress/quantize_test_support.h"

namespace tender::compress {
namespace {

TEST_F(QuantizeTest, ACalibrationFileIsReplacedWhereThatIsAskedFor) {
  auto saving = request("out");
  saving.save_calibration = folder_ / "seen";
  write_text(*saving.save_calibration, "something else");
  EXPECT_EQ(refused(saving).code(), "IO_EXISTS");
  saving.overwrite = Overwrite::replace;
  run(saving);
  EXPECT_GT(fs::file_size(*saving.save_calibration), 1000U);
}

TEST_F(QuantizeTest, ACalibrationThatWasKeptGivesTheSameBytes) {
  auto saving = request("direct");
  saving.save_calibration = folder_ / "seen.safetensors";
  run(saving);
  auto loading = request("loaded");
  loading.calibration.reset();
  loading.load_calibration = saving.save_calibration;
  const Report report = run(loading);
  auto direct = files_of(folder_ / "direct");
  auto loaded = files_of(folder_ / "loaded");
  direct.erase("tender_report.json");
  loaded.erase("tender_report.json");
  EXPECT_EQ(loaded, direct);
  EXPECT_EQ(Json::parse(report.calibration)["tokens"], 6 * 48);
}

TEST_F(QuantizeTest, WhatAttentionReachesIsKeptWithACalibration) {
  auto saving = request("direct");
  saving.save_calibration = folder_ / "seen.safetensors";
  saving.recipe.attention = model::AttentionBits{};
  run(saving);
  auto loading = request("loaded");
  loading.calibration.reset();
  loading.load_calibration = saving.save_calibration;
  loading.recipe.attention = saving.recipe.attention;
  run(loading);
  auto direct = files_of(folder_ / "direct");
  auto loaded = files_of(folder_ / "loaded");
  direct.erase("tender_report.json");
  loaded.erase("tender_report.json");
  EXPECT_EQ(loaded, direct);

  auto without = request("without");
  without.save_calibration = folder_ / "without.safetensors";
  run(without);
  loading.output = folder_ / "out";
  loading.load_calibration = without.save_calibration;
  EXPECT_EQ(refused(loading).code(), "CK_PART_MISSING");
}

TEST_F(QuantizeTest, ACalibrationOfSomethingElseIsRefusedAndTheDifferenceShown) {
  auto saving = request("direct");
  saving.save_calibration = folder_ / "seen.safetensors";
  run(saving);
  auto other = request("other");
  other.load_calibration = saving.save_calibration;
  EXPECT_NO_THROW(run(other)) << "the same text";

  other.output = folder_ / "out";
  other.windows.seed = 9;
  Error error = refused(other);
  EXPECT_EQ(error.code(), "CK_FINGERPRINT");
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.details().found, HasSubstr("calibration.seed 3"));
  EXPECT_THAT(error.details().expected, HasSubstr("calibration.seed 9"));

  auto method = request("out", "rtn");
  method.calibration.reset();
  method.load_calibration = saving.save_calibration;
  EXPECT_THAT(refused(method).details().expected, HasSubstr("method rtn"));

  testing::write_tiny_model(model(), {.seed = 2});
  auto model_differs = request("out");
  model_differs.calibration.reset();
  model_differs.load_calibration = saving.save_calibration;
  error = refused(model_differs);
  EXPECT_EQ(error.code(), "CK_FINGERPRINT");
  EXPECT_EQ(error.details().item, "model");
}

TEST_F(QuantizeTest, WhatIsNoCalibrationIsRefused) {
  auto loading = request("out");
  loading.calibration.reset();
  loading.load_calibration = model() / "model.safetensors";
  EXPECT_EQ(refused(loading).code(), "CK_CALIBRATION");
  loading.load_calibration = text();
  EXPECT_EQ(refused(loading).kind(), ErrorKind::corrupt_file);
}

}  // namespace
}  // namespace tender::compress
