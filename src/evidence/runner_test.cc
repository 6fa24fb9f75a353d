#include "evidence/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "evidence/presentation.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "quant/registry.h"
#include "tests/support/kill_process.h"
#include "tests/support/test_support.h"
#include "tests/support/tiny_model.h"

namespace tender::evidence {
namespace {

namespace fs = std::filesystem;

/// May ask to stop when it is told something.
class Watch : public Progress {
 public:
  void note(std::string_view sentence) override { notes += std::string(sentence) + "\n"; }
  void update(std::uint64_t, std::uint64_t, std::string_view what) override {
    if (!stop_at.empty() && what.find(stop_at) != std::string_view::npos) stopped = true;
  }
  bool cancelled() const override { return stopped; }
  std::string notes;
  std::string stop_at;
  bool stopped = false;
};

/// Puts a NaN into the last norm of a directory, and takes away what would tell.
void spoil(const fs::path& model) {
  fs::remove(model / "tender_report.json");
  const std::string file = read_file(model / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const Json entry = Json::parse(file.substr(8, header)).at("model.norm.weight");
  std::fstream stream(model / "model.safetensors", std::ios::in | std::ios::out);
  stream.seekp(static_cast<std::streamoff>(8 + header) +
               entry.at("data_offsets")[0].get<std::streamoff>());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  stream.write(reinterpret_cast<const char*>(&nan), sizeof nan);
}

class ReproduceTest : public ::testing::Test {
 protected:
  ReproduceTest() {
    testing::write_tiny_model(folder_ / "tiny");
    testing::write_text(folder_ / "calibration.txt", testing::tiny_text(2000));
    testing::write_text(folder_ / "text.txt", testing::tiny_text(1500));
    experiment_ = {"small",
                   "two rows",
                   {32},
                   {{"INT8", "RTN", "rtn", "{}", ""},
                    {"INT8", "Tender", "tender", R"({"mode": "static"})", "as published"},
                    {"INT8", "Magic", "magic", "{}", ""}},
                   {{"INT8", "rows"}}};
    request_.experiment = &experiment_;
    request_.models = {folder_ / "tiny"};
    request_.texts = {{"wiki", folder_ / "text.txt"}};
    request_.calibration = folder_ / "calibration.txt";
    request_.windows = {4, 32, 0};
    request_.limit = 3;
    request_.work = folder_ / "work";
    request_.tool_version = "test";
  }

  OrderedJson run() {
    ThreadPool pool(1);
    watch_.notes.clear();
    return reproduce(request_, host_isa(), pool, watch_);
  }

  /// Everything in the work directory but reports, by its place there.
  std::map<std::string, std::string> made() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(request_.work))
      if (entry.is_regular_file() && entry.path().filename() != "tender_report.json")
        files[fs::relative(entry.path(), request_.work).string()] =
            testing::read_text(entry.path());
    return files;
  }

  testing::TemporaryFolder folder_;
  Experiment experiment_;
  ReproduceRequest request_;
  Watch watch_;
};

TEST_F(ReproduceTest, EveryRowHasItsBitsAndItsPairedExcessBesideTheBase) {
  const OrderedJson document = run();
  ASSERT_EQ(document.at("tables").size(), 1U);
  const OrderedJson& table = document.at("tables")[0];
  EXPECT_EQ(table.at("seqlen"), 32);
  EXPECT_GT(table.at("base").at("wiki").at("perplexity").at("value").get<double>(), 1);
  ASSERT_EQ(table.at("rows").size(), 2U) << "magic is not of this build";
  EXPECT_EQ(document.at("missing"), OrderedJson::array({"magic"}));
  for (const OrderedJson& row : table.at("rows")) {
    EXPECT_GT(row.at("bits_per_weight").get<double>(), 8) << "scales are counted";
    const OrderedJson& cell = row.at("texts").at("wiki");
    EXPECT_EQ(cell.at("windows"), 3);
    EXPECT_GE(cell.at("kl_divergence").at("value").get<double>(), 0);
    EXPECT_TRUE(cell.at("excess_percent").at("error").is_number());
  }
  EXPECT_EQ(table.at("rows")[1].at("remark"), "as published");
  const std::string text = tables_text(document);
  for (const char* word : {"RTN", "Tender", "float", "as published", "magic"})
    EXPECT_NE(text.find(word), std::string::npos) << word;
  const std::string markdown = tables_markdown(document);
  EXPECT_NE(markdown.find("| INT8 | RTN |"), std::string::npos) << markdown;
  EXPECT_EQ(std::ranges::count(markdown, '\n'), 9) << "title, head, rule, base, two rows, missing";
}

TEST_F(ReproduceTest, WindowsAreCutToWhatTheModelWasMadeForUnlessTheirLengthIsGiven) {
  const std::size_t context = model::read_spec(*io::open_checkpoint(folder_ / "tiny")).info.context;
  experiment_.seqlens = {4 * context, 2 * context, 32};
  request_.windows.seqlen = 2 * context;
  request_.fit_windows = true;
  request_.limit = 1;
  const OrderedJson document = run();
  ASSERT_EQ(document.at("tables").size(), 2U) << "one for what is too long, one as asked";
  EXPECT_EQ(document.at("tables")[0].at("seqlen"), context);
  EXPECT_EQ(document.at("tables")[1].at("seqlen"), 32);
  EXPECT_NE(watch_.notes.find(fmt::format("was made for {} tokens", context)), std::string::npos)
      << watch_.notes;
  EXPECT_EQ(document.at("tables")[0].at("calibration_seqlen"), context);
  const std::size_t models = made().size();
  request_.windows.seqlen = context;
  request_.fit_windows = false;
  run();
  EXPECT_EQ(made().size(), models) << "what is cut to the context is what asked for it";
  request_.seqlen = 16;
  EXPECT_EQ(run().at("tables")[0].at("seqlen"), 16);
  EXPECT_EQ(watch_.notes.find("was made for"), std::string::npos) << watch_.notes;
}

TEST_F(ReproduceTest, TenderCheck15NoCellOfThePaperStandsBesideAModelThatIsNotItsOwn) {
  experiment_.name = "tender-table3";  // whose columns are 32 tokens long, too
  const OrderedJson document = run();
  const OrderedJson& table = document.at("tables")[0];
  for (const OrderedJson& row : table.at("rows"))
    EXPECT_FALSE(row.at("texts").at("wiki").contains("published")) << row.at("name");
  EXPECT_FALSE(table.at("base").at("wiki").contains("published"));
}

TEST_F(ReproduceTest, AVariantMayQuantizeSomeKindsOfSitesAndIsKeptApartFromTheOthers) {
  const Experiment& sites = experiment("tender-sites");
  experiment_.variants.clear();
  for (const Variant& variant : sites.variants)
    if (variant.method == "rtn") experiment_.variants.push_back(variant);
  ASSERT_EQ(experiment_.variants.size(), 5U);
  const OrderedJson document = run();
  const OrderedJson& rows = document.at("tables")[0].at("rows");
  ASSERT_EQ(rows.size(), 5U);
  const auto excess = [&](std::size_t row) {
    return rows[row].at("texts").at("wiki").at("kl_divergence").at("value").get<double>();
  };
  EXPECT_EQ(rows[0].at("name"), "all");
  std::set<double> seen;
  for (std::size_t row = 0; row < 5; ++row) seen.insert(excess(row));
  EXPECT_EQ(seen.size(), 5U) << "each is a model of its own";
  for (std::size_t row = 1; row < 5; ++row) {
    EXPECT_GT(rows[row].at("bits_per_activation").get<double>(), 8.5) << "the others are float";
    EXPECT_LT(excess(row), excess(0));
  }
}

// A model whose logits are no numbers is a row that says so, and the others keep theirs.
TEST_F(ReproduceTest, AModelWithoutNumbersIsNamedAndTheOthersAreMeasured) {
  run();
  spoil(*fs::directory_iterator(request_.work / "models"));
  fs::remove_all(request_.work / "results");
  const OrderedJson document = run();
  std::size_t failed = 0;
  for (const OrderedJson& row : document.at("tables")[0].at("rows")) {
    const OrderedJson& cell = row.at("texts").at("wiki");
    if (cell.contains("failed")) {
      EXPECT_EQ(cell.at("failed"), "LOGITS_NAN");
      ++failed;
    } else {
      EXPECT_EQ(cell.at("windows"), 3);
    }
  }
  EXPECT_EQ(failed, 1U);
  EXPECT_NE(tables_text(document).find("LOGITS_NAN"), std::string::npos);
  EXPECT_EQ(run(), document);
}

// Where no row has numbers the text still stands in the tables.
TEST_F(ReproduceTest, ATextThatNoModelHasNumbersForIsShown) {
  experiment_.variants[0].remark = "a|b";
  run();
  for (const auto& model : fs::directory_iterator(request_.work / "models")) spoil(model);
  fs::remove_all(request_.work / "results");
  const OrderedJson document = run();
  const std::string markdown = tables_markdown(document);
  EXPECT_NE(markdown.find("| wiki |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("not measured"), std::string::npos);
  EXPECT_NE(markdown.find("LOGITS_NAN"), std::string::npos);
  EXPECT_NE(markdown.find("a\\|b"), std::string::npos) << "a bar in a cell is escaped";
  EXPECT_NE(tables_text(document).find("not measured"), std::string::npos);
  EXPECT_TRUE(panels_of(experiment_, document)[0].curves[0].points.empty());
}

TEST_F(ReproduceTest, ASecondRunUsesWhatTheFirstHasMade) {
  const OrderedJson first = run();
  EXPECT_NE(watch_.notes.find("quantizing"), std::string::npos);
  const OrderedJson second = run();
  EXPECT_EQ(watch_.notes.find("quantizing"), std::string::npos);
  EXPECT_EQ(watch_.notes.find("evaluating"), std::string::npos);
  EXPECT_EQ(second, first);
}

TEST_F(ReproduceTest, AfterAnInterruptionTheNumbersAreTheSame) {
  const OrderedJson whole = run();
  fs::remove_all(request_.work);
  watch_.stop_at = "excess";
  try {
    run();
    ADD_FAILURE() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "CANCELLED");
  }
  watch_.stop_at.clear();
  watch_.stopped = false;
  EXPECT_EQ(run(), whole);
  EXPECT_EQ(watch_.notes.find("quantizing"), std::string::npos) << "models were there already";
}

TEST_F(ReproduceTest, ARunThatWasKilledGoesOnToTheSameNumbersAndBytes) {
  testing::write_text(folder_ / "more.txt", testing::tiny_text(1500, 7));
  request_.texts.push_back({"ptb", folder_ / "more.txt"});
  const OrderedJson whole = run();
  const auto files = made();
  ASSERT_GT(files.size(), 4U) << "two models, four results";
  struct Case {
    testing::KillAt place;
    const char* done;     ///< what is not done again
    const char* goes_on;  ///< what is told then
  };
  for (const auto& [place, done, goes_on] :
       {Case{{"INT8 Tender", "quantizing model.layers.1"}, "INT8 RTN", "1 of 2 layers are done"},
        Case{{"models on ptb", "excess"}, "models on wiki", "models on ptb"}}) {
    SCOPED_TRACE(std::string(place.note));
    fs::remove_all(request_.work);
    ASSERT_TRUE(testing::killed(place, [&](Progress& kill) {
      ThreadPool pool(1);
      reproduce(request_, host_isa(), pool, kill);
    }));
    EXPECT_EQ(run(), whole);
    EXPECT_EQ(watch_.notes.find(done), std::string::npos) << watch_.notes;
    EXPECT_NE(watch_.notes.find(goes_on), std::string::npos) << watch_.notes;
    EXPECT_TRUE(made() == files) << "every file but reports, which hold times";
  }
}

TEST_F(ReproduceTest, ResultsOfAnotherTextOrModelAreNotTakenForItsOwn) {
  const OrderedJson first = run();
  testing::write_text(folder_ / "text.txt", testing::tiny_text(1400, 5));
  const OrderedJson other_text = run();
  EXPECT_NE(other_text.at("tables")[0].at("base"), first.at("tables")[0].at("base"));
  testing::write_tiny_model(folder_ / "tiny", {.seed = 2});
  const OrderedJson other_model = run();
  EXPECT_NE(other_model.at("tables")[0].at("base"), other_text.at("tables")[0].at("base"));
}

TEST_F(ReproduceTest, AnotherLimitIsAnotherResult) {
  run();
  request_.limit = 5;
  const OrderedJson more = run();
  EXPECT_NE(watch_.notes.find("evaluating"), std::string::npos);
  for (const OrderedJson& row : more.at("tables")[0].at("rows"))
    EXPECT_EQ(row.at("texts").at("wiki").at("windows"), 5);
}

TEST_F(ReproduceTest, ATextThatIsMissingIsToldBeforeAnythingIsQuantized) {
  request_.texts.push_back({"ptb", folder_ / "nowhere.txt"});
  EXPECT_THROW(run(), Error);
  EXPECT_EQ(watch_.notes.find("quantizing"), std::string::npos);
  EXPECT_FALSE(fs::exists(request_.work)) << "nothing is left behind";
}

TEST_F(ReproduceTest, APlotHasACurveForEachGroup) {
  const auto panels = panels_of(experiment_, run());
  ASSERT_EQ(panels.size(), 1U);
  ASSERT_EQ(panels[0].curves.size(), 1U);
  EXPECT_EQ(panels[0].curves[0].points.size(), 2U);
  EXPECT_GT(panels[0].base, 1);
}

TEST_F(ReproduceTest, TextsHaveNamesOfTheirOwn) {
  request_.texts.push_back(request_.texts[0]);
  EXPECT_THROW(validate(request_), Error);
  request_.texts = {{"", "file"}};
  EXPECT_THROW(validate(request_), Error);
}

// Every option of every variant is one that its method has, where the method exists.
TEST(Experiments, AreMadeOfRecipesThatThisBuildKnowsOrNamesAsMissing) {
  std::set<std::string_view> names;
  for (const Experiment& each : all_experiments()) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name;
    std::set<std::string> rows;
    for (const Variant& variant : each.variants) {
      EXPECT_TRUE(rows.insert(variant.group + " " + variant.name).second)
          << each.name << ": " << variant.group << " " << variant.name;
      for (const quant::MethodEntry& method : quant::all_methods())
        if (method.name == variant.method) {
          EXPECT_NO_THROW(method.resolve(Json::parse(variant.options)))
              << each.name << ": " << variant.name;
        }
    }
  }
  EXPECT_EQ(&experiment("ablation"), &experiment("ablation"));
  EXPECT_THROW(experiment("alchemy"), Error);
}

// Numbers in the names are those of the checks of tender.md section 9. The paper's own models are
// measured by `tender reproduce`, beside these cells; for any other model none is claimed.
TEST(TenderCheck15, PublishedCellsAreThoseOfThePaperForItsOwnModelsAndNothingElse) {
  model::ModelInfo opt;
  opt.model_type = "opt";
  opt.layers = 32;
  opt.width = 4096;
  opt.context = 2048;
  struct Row {
    const char* experiment;
    const char* name;
    double wiki, ptb;
  };
  for (const auto& [experiment, name, wiki, ptb] :
       {Row{"tender-table2", "INT8 Tender", 10.93, 13.14},
        Row{"tender-table2", "INT4 Tender", 13.56, 16.28},
        Row{"tender-table3", "INT8 Tender (all)", 10.98, 13.19},
        Row{"tender-table3", "INT4 Tender (all)", 17.15, 23.25}}) {
    EXPECT_EQ(published(experiment, opt, 2048, "wiki", name), wiki) << name;
    EXPECT_EQ(published(experiment, opt, 2048, "ptb", name), ptb) << name;
  }
  EXPECT_EQ(published("tender-table3", opt, 256, "ptb", "float"), 22.00);
  EXPECT_EQ(published("tender-table1", opt, 2048, "wiki", "INT4 per column"), 19.38);
  EXPECT_EQ(published("tender-table1", opt, 2048, "ptb", "INT4 per column"), std::nullopt);
  EXPECT_EQ(published("tender-table2", opt, 2048, "c4", "INT8 Tender"), std::nullopt);
  EXPECT_EQ(published_groups(opt, 8), 4);
  opt.layers = 31;
  EXPECT_EQ(published("tender-table2", opt, 2048, "wiki", "INT8 Tender"), std::nullopt);
  EXPECT_EQ(published_groups(opt, 8), std::nullopt);
  model::ModelInfo llama = opt;
  llama.model_type = "llama";
  llama.layers = 32;
  llama.context = 4096;
  const auto with = [&](const Json& options) {
    const auto published = published_options(llama, "tender", options);
    return published ? published->options : Json();
  };
  EXPECT_EQ(with({{"mode", "static"}}), (Json{{"mode", "static"}, {"groups", 8}}));
  EXPECT_EQ(
      with({{"mode", "dynamic"}, {"weight_bits", 4}, {"activation_bits", 4}}),
      (Json{{"mode", "dynamic"}, {"weight_bits", 4}, {"activation_bits", 4}, {"groups", 14}}));
  EXPECT_EQ(with({{"mode", "static"}, {"groups", 5}}), Json()) << "asked for";
  EXPECT_EQ(with({{"mode", "static"}, {"groups", 0}}), Json()) << "the method's own";
  EXPECT_EQ(with({{"mode", "row-scaled"}}), Json()) << "no mode of the paper";
  EXPECT_FALSE(published_options(llama, "rtn", Json::object()).has_value());
  EXPECT_EQ(with({{"mode", "static"}, {"activation_bits", 6}}), Json()) << "no bits of the paper";
  EXPECT_EQ(published_options(opt, "tender", {{"mode", "static"}}).has_value(), false)
      << "no such model";
  EXPECT_EQ(published("tender-table2", llama, 2048, "wiki", "INT8 Tender"), 5.77);
  EXPECT_EQ(published("tender-table2", llama, 2048, "wiki", "INT4 Tender"), 36.47);
  llama.context = 2048;
  EXPECT_EQ(published("tender-table2", llama, 2048, "wiki", "INT4 Tender"), 23.85);
}

}  // namespace
}  // namespace tender::evidence
