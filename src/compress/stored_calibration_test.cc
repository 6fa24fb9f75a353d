// Calibrations that are kept in a file. Numbers in the names are those of the checks of tender.md
// section 9.

#include <array>
#include <functional>
#include <nlohmann/json.hpp>

#include "compress/merge_calibrations.h"
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

TEST_F(QuantizeTest, TenderCheck10ACalibrationThatWasKeptGivesTheSameBytes) {
  auto saving = request("direct");
  saving.save_calibration = folder_ / "seen.safetensors";
  run(saving);
  auto loading = request("loaded");
  loading.calibration.reset();
  loading.load_calibration = saving.save_calibration;
  const Report report = run(loading);
  EXPECT_EQ(model_of(folder_ / "loaded"), model_of(folder_ / "direct"));
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
  EXPECT_EQ(model_of(folder_ / "loaded"), model_of(folder_ / "direct"));

  auto without = request("without");
  without.save_calibration = folder_ / "without.safetensors";
  run(without);
  loading.output = folder_ / "out";
  loading.load_calibration = without.save_calibration;
  EXPECT_EQ(refused(loading).code(), "CK_CALIBRATION");
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

/// Calibrates with these windows. @return where it was kept
fs::path kept(QuantizeRequest saving, const fs::path& file, std::uint64_t seed,
              const std::function<void(const QuantizeRequest&)>& run) {
  saving.windows.seed = seed;
  saving.overwrite = Overwrite::replace;
  saving.save_calibration = file;
  run(saving);
  return file;
}

TEST_F(QuantizeTest,
       TenderCheck10CalibrationsOfOtherWindowsAreMergedInAnyOrderAndLoadedLikeAnyOther) {
  const auto calibrate = [&](const char* file, std::uint64_t seed) {
    QuantizeRequest saving = request("out");
    saving.recipe.attention = model::AttentionBits{};
    return kept(saving, folder_ / file, seed, [&](const QuantizeRequest& each) { run(each); });
  };
  const fs::path a = calibrate("a", 3), b = calibrate("b", 9), c = calibrate("c", 11);
  const CalibrationSummary ab =
      merge_calibrations(std::array{a, b}, folder_ / "ab", Overwrite::refuse);
  merge_calibrations(std::array{b, a}, folder_ / "ba", Overwrite::refuse);
  EXPECT_EQ(testing::read_text(folder_ / "ab"), testing::read_text(folder_ / "ba"));
  merge_calibrations(std::array{folder_ / "ab", c}, folder_ / "ab_c", Overwrite::refuse);
  merge_calibrations(std::array{a, b, c}, folder_ / "abc", Overwrite::refuse);
  EXPECT_EQ(testing::read_text(folder_ / "ab_c"), testing::read_text(folder_ / "abc"));

  const CalibrationSummary of_a = summarize_calibration(a), of_b = summarize_calibration(b);
  ASSERT_EQ(ab.sites.size(), of_a.sites.size());
  for (std::size_t s = 0; s < ab.sites.size(); ++s) {
    EXPECT_EQ(ab.sites[s].largest, std::max(of_a.sites[s].largest, of_b.sites[s].largest));
    EXPECT_EQ(ab.sites[s].least, std::min(of_a.sites[s].least, of_b.sites[s].least));
    EXPECT_EQ(ab.sites[s].rows, of_a.sites[s].rows + of_b.sites[s].rows);
    EXPECT_GT(ab.sites[s].in, 0U);
  }
  ASSERT_EQ(ab.texts.size(), 2U);
  auto loading = request("merged");
  loading.recipe.attention = model::AttentionBits{};
  loading.calibration.reset();
  loading.load_calibration = folder_ / "ab";
  const Report report = run(loading);
  EXPECT_EQ(Json::parse(report.calibration)["merged"].size(), 2U);
  EXPECT_THAT(testing::read_text(folder_ / "merged" / "README.md"), HasSubstr(", and on "));

  auto with_text = request("with text");  // one of the two
  with_text.windows.seed = 9;
  with_text.load_calibration = folder_ / "ab";
  EXPECT_NO_THROW(run(with_text));
  with_text.output = folder_ / "none";
  with_text.windows.seed = 10;
  EXPECT_EQ(refused(with_text).code(), "CK_FINGERPRINT");
}

TEST_F(QuantizeTest, ACalibrationOfBothBasesIsKeptMergedAndRefusedForOneOfThem) {
  const auto calibrate = [&](const char* file, std::uint64_t seed, const char* rotation = "auto") {
    QuantizeRequest saving = request("out", "tender", Json{{"rotation", rotation}}.dump());
    return kept(saving, folder_ / file, seed, [&](const QuantizeRequest& each) { run(each); });
  };
  const fs::path a = calibrate("a", 3), b = calibrate("b", 9);
  merge_calibrations(std::array{a, b}, folder_ / "ab", Overwrite::refuse);
  const CalibrationSummary both = summarize_calibration(a);
  const CalibrationSummary plain = summarize_calibration(calibrate("plain", 3, "none"));
  ASSERT_EQ(both.sites.size(), plain.sites.size());
  for (std::size_t s = 0; s < both.sites.size(); ++s) {
    EXPECT_EQ(both.sites[s].least, plain.sites[s].least) << "what is shown is of rows as they come";
    EXPECT_EQ(both.sites[s].largest, plain.sites[s].largest);
  }
  auto direct = request("direct", "tender", R"({"rotation": "auto"})");
  direct.windows.seed = 3;
  run(direct);
  auto loading = request("loaded", "tender", R"({"rotation": "auto"})");
  loading.calibration.reset();
  loading.load_calibration = a;
  run(loading);
  EXPECT_EQ(read_text(folder_ / "loaded" / "model.safetensors"),
            read_text(folder_ / "direct" / "model.safetensors"));
  loading.load_calibration = folder_ / "ab";
  loading.output = folder_ / "merged";
  run(loading);
  loading.output = folder_ / "refused";
  for (const char* other : {"none", "hadamard"}) {
    loading.recipe.options = Json{{"rotation", other}}.dump();
    const Error error = refused(loading);
    EXPECT_EQ(error.code(), "Q_CALIBRATION");
    EXPECT_EQ(error.details().found, "auto");
    EXPECT_EQ(error.details().expected, other);
  }
}

TEST_F(QuantizeTest, CalibrationsThatDoNotGoTogetherAreNotMerged) {
  const auto calibrate = [&](const char* file, std::uint64_t seed, QuantizeRequest saving) {
    return kept(std::move(saving), folder_ / file, seed,
                [&](const QuantizeRequest& each) { run(each); });
  };
  const auto code = [&](const fs::path& a, const fs::path& b) -> std::string {
    try {
      merge_calibrations(std::array{a, b}, folder_ / "both", Overwrite::refuse);
    } catch (const Error& error) {
      return error.code();
    }
    return "";
  };
  const fs::path a = calibrate("a", 3, request("out"));
  auto chunked = request("out");
  chunked.recipe.options = R"({"mode": "static", "chunk_rows": 16})";
  EXPECT_EQ(code(a, calibrate("chunked", 9, chunked)), "CK_FINGERPRINT");
  EXPECT_EQ(code(a, calibrate("rtn", 9, request("out", "smoothquant"))), "CK_FINGERPRINT");
  EXPECT_EQ(code(a, a), "CALIBRATION_CONFLICT");
  EXPECT_EQ(code(a, text()), "ST_HEADER_TOO_LARGE");
  EXPECT_FALSE(fs::exists(folder_ / "both"));
  testing::write_tiny_model(model(), {.seed = 2});
  EXPECT_EQ(code(a, calibrate("other model", 9, request("out"))), "CK_FINGERPRINT");
}

TEST_F(QuantizeTest, WhatIsNoCalibrationIsRefused) {
  auto loading = request("out");
  loading.calibration.reset();
  loading.load_calibration = model() / "model.safetensors";
  EXPECT_EQ(refused(loading).code(), "CK_CALIBRATION");
  loading.load_calibration = text();
  EXPECT_EQ(refused(loading).kind(), ErrorKind::corrupt_file);
}

TEST_F(QuantizeTest, TenderCheck10ACalibrationThatWasCutOrDamagedIsRefused) {
  auto saving = request("direct");
  saving.recipe.attention = model::AttentionBits{};
  saving.save_calibration = folder_ / "seen";
  run(saving);
  const std::string whole = read_text(*saving.save_calibration);
  auto loading = request("out");
  loading.calibration.reset();
  loading.recipe.attention = saving.recipe.attention;
  loading.load_calibration = folder_ / "damaged";
  const auto kind_of = [&](const std::string& bytes) {
    write_text(*loading.load_calibration, bytes);
    return refused(loading).kind();
  };
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  for (const std::size_t keep : {std::size_t{0}, std::size_t{7}, std::size_t{8}, 8 + header / 2,
                                 8 + header, whole.size() / 2, whole.size() - 1})
    EXPECT_EQ(kind_of(whole.substr(0, keep)), ErrorKind::corrupt_file) << "kept " << keep;
  EXPECT_EQ(kind_of(whole + "x"), ErrorKind::corrupt_file);
  for (const char* word : {"F32", "I32", "shape", "data_offsets"}) {
    std::string damaged = whole;
    const std::size_t at = damaged.find(word);
    ASSERT_LT(at, header) << word;
    damaged[at] ^= 1;
    EXPECT_EQ(kind_of(damaged), ErrorKind::corrupt_file) << word;
  }
  write_text(*loading.load_calibration, whole);
  EXPECT_NO_THROW(run(loading));
}

}  // namespace
}  // namespace tender::compress
