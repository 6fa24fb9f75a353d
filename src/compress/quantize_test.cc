#include "compress/quantize.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file_hash.h"
#include "base/hash.h"
#include "compress/quantize_test_support.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

TEST_F(QuantizeTest, WritesADirectoryThatLoadsAndSaysWhatItIs) {
  for (const quant::MethodEntry& method : quant::all_methods()) {
    const std::string name(method.name);
    const Report report = run(request(name, name));
    const auto checkpoint = io::open_checkpoint(folder_ / name);
    ThreadPool pool(1);
    const auto loaded = model::load_model(*checkpoint, host_isa(), pool, notes_);
    for (std::size_t s = 0; s < loaded->sites().size(); ++s)
      EXPECT_EQ(loaded->site(s).method(), method.name);
    const Json config = Json::parse(read_text(folder_ / name / "config.json"));
    EXPECT_EQ(config["quantization_config"]["quant_method"], name);
    EXPECT_EQ(config["quantization_config"]["format_version"], 1);
    EXPECT_EQ(config["quantization_config"]["options"], method.resolve(Json::object()));
    EXPECT_EQ(config["quantization_config"]["ignore"], Json({"lm_head"}));
    EXPECT_EQ(config["hidden_size"], 48);
    EXPECT_EQ(config["torch_dtype"], "float16");
    for (const char* file : {"model.safetensors", "tokenizer.json", "tokenizer_config.json",
                             "generation_config.json", "tender_report.json", "README.md"})
      EXPECT_TRUE(fs::exists(folder_ / name / file)) << file;
    EXPECT_EQ(read_text(folder_ / name / "tokenizer.json"), read_text(model() / "tokenizer.json"));
    EXPECT_EQ(report.layers.size(), 2U * 7U);
    EXPECT_EQ(report.stored_bytes, fs::file_size(folder_ / name / "model.safetensors"));
  }
}

TEST_F(QuantizeTest, AllFilesButTheReportAreTheSameForAnyThreadsAndInstructionSet) {
  for (const quant::MethodEntry& method : quant::all_methods()) {
    const std::string name(method.name);
    run(request(name, name));
    const auto first = model_of(folder_ / name);
    int count = 0;
    for (const std::size_t threads : {1U, 3U})
      for (const char* isa : {"scalar", "avx2", "native"}) {
        const std::string again = name + std::to_string(count++);
        run(request(again, name), threads,
            allowed_isa(isa) == Isa::scalar || contains(host_isa(), allowed_isa(isa))
                ? allowed_isa(isa)
                : host_isa());
        auto files = model_of(folder_ / again);
        for (const auto& [file, content] : first)
          EXPECT_TRUE(files[file] == content) << file << " with " << threads << " threads, " << isa;
        EXPECT_EQ(files.size(), first.size());
      }
  }
}

TEST_F(QuantizeTest, AnotherSeedShowsOtherWindowsAndMayGiveOtherBytes) {
  run(request("a"));
  auto other = request("b");
  other.windows.seed = 4;
  run(other);
  EXPECT_NE(read_text(folder_ / "a" / "model.safetensors"),
            read_text(folder_ / "b" / "model.safetensors"));
}

TEST_F(QuantizeTest, TheReportAccountsForEveryByte) {
  const Report report = run(request("out"));
  const Json json = Json::parse(read_text(folder_ / "out" / "tender_report.json"));
  const auto checkpoint = io::open_checkpoint(folder_ / "out");
  std::size_t payload = 0;
  std::size_t packed = 0;
  for (const TensorInfo& tensor : checkpoint->tensors().tensors()) {
    EXPECT_EQ(json["tensors"][tensor.name], xxh3_hex(tensor.bytes)) << tensor.name;
    payload += tensor.bytes.size();
    if (!tensor.name.ends_with(".weight")) packed += tensor.bytes.size();
  }
  EXPECT_EQ(json["tensors"].size(), checkpoint->tensors().tensors().size());
  EXPECT_EQ(report.quantized_bytes, packed);
  EXPECT_GT(report.stored_bytes, payload);
  std::uint64_t weights = 0;
  for (const LayerReport& layer : report.layers) weights += layer.out * layer.in;
  EXPECT_EQ(weights, 2U * (48 * 48 + 2 * 24 * 48 + 48 * 48 + 3 * 88 * 48));
  EXPECT_DOUBLE_EQ(json["totals"]["bits_per_weight"].get<double>(),
                   8.0 * static_cast<double>(packed) / static_cast<double>(weights));
  EXPECT_DOUBLE_EQ(
      json["totals"]["bits_per_weight_model"].get<double>(),
      8.0 * static_cast<double>(report.stored_bytes) / static_cast<double>(report.parameters));
  EXPECT_EQ(json["source"]["files"][0]["sha256"], sha256_of_file(model() / "model.safetensors"));
  EXPECT_EQ(json["source"]["quantized_from"], Json({{"F32", 14}}));
  EXPECT_EQ(json["calibration"]["sha256"], sha256_of_file(text()));
  EXPECT_EQ(json["calibration"]["windows"], 6);
  EXPECT_EQ(json["calibration"]["tokens"], 6 * 48);
  EXPECT_EQ(json["calibration"]["seed"], 3);
}

TEST_F(QuantizeTest, ErrorsAreSmallAtEightBitsAndLargerAtFour) {
  // One scale per output channel: the step is max|w| / 127 or / 7, so a uniform rounding error is
  // step / sqrt(12). Of near-normal rows of 48 to 88 weights max|w| is about 2.4 spreads: 0.0055
  // and 0.1.
  const Report eight = run(request("w8", "tender", R"({"weight_bits": 8})"));
  const Report four = run(request("w4", "tender", R"({"weight_bits": 4})"));
  for (std::size_t l = 0; l < eight.layers.size(); ++l) {
    EXPECT_GT(eight.layers[l].relative_error, 0.0055 / 2);
    EXPECT_LT(eight.layers[l].relative_error, 0.0055 * 2);
    EXPECT_GT(four.layers[l].relative_error, 0.1 / 2);
    EXPECT_LT(four.layers[l].relative_error, 0.1 * 2);
    ASSERT_TRUE(eight.layers[l].sqnr_db.has_value() && four.layers[l].sqnr_db.has_value());
    EXPECT_GT(*eight.layers[l].sqnr_db, *four.layers[l].sqnr_db);
  }
}

TEST_F(QuantizeTest, TheCardSaysWhatTheSourceWasAndHoldsNoTime) {
  const Report report = run(request("out"));
  const std::string card = read_text(folder_ / "out" / "README.md");
  EXPECT_THAT(card, HasSubstr("tiny quantized with tender"));
  EXPECT_THAT(card, HasSubstr("14 matrices from F32"));
  EXPECT_THAT(card, HasSubstr(sha256_of_file(text())));
  Report later = report;
  later.seconds += 100;
  later.peak_resident_bytes *= 2;
  for (LayerReport& layer : later.layers) layer.seconds += 1;
  EXPECT_EQ(model_card(later), card);
}

TEST_F(QuantizeTest, MatricesThatStayFloatHaveTheTypeThatWasAskedForAndVectorsAreFloat32) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    auto asked = request("out" + std::string(to_string(type)));
    asked.recipe.float_type = type;
    run(asked);
    const auto checkpoint = io::open_checkpoint(asked.output);
    EXPECT_EQ(checkpoint->tensors().find("model.embed_tokens.weight")->type, type);
    EXPECT_EQ(checkpoint->tensors().find("model.norm.weight")->type, DType::f32);
  }
}

TEST_F(QuantizeTest, AnUntiedHeadStaysFloat) {
  testing::write_tiny_model(model(), {.tied_head = false});
  run(request("out"));
  EXPECT_EQ(io::open_checkpoint(folder_ / "out")->tensors().find("lm_head.weight")->type,
            DType::f16);
}

TEST_F(QuantizeTest, WeightsThatAreNotFiniteAreRefusedWithTensorAndPosition) {
  for (const auto& [tensor, index, where] :
       std::vector<std::tuple<std::string, std::size_t, std::string>>{
           {"model.layers.1.mlp.down_proj.weight", 88 * 2 + 5, "[2, 5]"},
           {"model.embed_tokens.weight", 48 * 100 + 47, "[100, 47]"},
           {"model.norm.weight", 7, "[0, 7]"}}) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      testing::write_tiny_model(model());
      poke(tensor, index, value);
      const Error error = refused(request("out"));
      EXPECT_EQ(error.code(), "Q_NONFINITE");
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.details().item, tensor);
      EXPECT_THAT(error.details().found, HasSubstr(where));
    }
  }
}

TEST_F(QuantizeTest, ANumberThatDoesNotFitFloat16IsRefusedAndFitsElsewhere) {
  poke("model.embed_tokens.weight", 0, 65519.0F);
  EXPECT_NO_THROW(run(request("fits")));
  poke("model.embed_tokens.weight", 0, 65520.0F);
  const Error error = refused(request("out"));
  EXPECT_EQ(error.code(), "FLOAT_RANGE");
  EXPECT_THAT(error.details().hint, HasSubstr("--float-dtype"));
  auto wider = request("wider");
  wider.recipe.float_type = DType::bf16;
  EXPECT_NO_THROW(run(wider));
}

TEST_F(QuantizeTest, MethodsThatMustSeeActivationsRefuseWithoutAText) {
  int wanting = 0;
  for (const quant::MethodEntry& method : quant::all_methods()) {
    auto bare = request("out-" + std::string(method.name), std::string(method.name));
    bare.calibration.reset();
    const quant::MethodTraits traits = method.traits(Json::object());
    if (!traits.wants_inputs && !traits.wants_moment) {
      EXPECT_NO_THROW(run(bare));
      continue;
    }
    ++wanting;
    const Error error = refused(bare);
    EXPECT_EQ(error.code(), "CALIBRATION_NEEDED");
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("--calibration"));
  }
  EXPECT_GT(wanting, 0);
}

TEST_F(QuantizeTest, ATextThatIsNotNeededIsNotedAndNotRun) {
  const Report report = run(request("out", "rtn"));
  EXPECT_THAT(notes_.text, HasSubstr("not used"));
  EXPECT_EQ(report.calibration, "");
}

TEST_F(QuantizeTest, WrongRequestsAreToldBeforeAnythingIsRead) {
  const auto code = [&](const QuantizeRequest& wrong) {
    try {
      validate(wrong);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      return error.code();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(code(request("o", "no-such-method")), "METHOD_UNKNOWN");
  EXPECT_EQ(code(request("o", "tender", R"({"weight_bits": 99})")), "OPTION_VALUE");
  EXPECT_EQ(code(request("o", "tender", R"({"colour": 1})")), "OPTION_UNKNOWN");
  auto wrong = request("o");
  wrong.recipe.float_type = DType::q4_0;
  EXPECT_EQ(code(wrong), "FLOAT_DTYPE");
  wrong = request("o");
  wrong.save_calibration = folder_ / "s";
  wrong.load_calibration = folder_ / "l";
  EXPECT_EQ(code(wrong), "CALIBRATION_CONFLICT");
  wrong = request("o", "rtn");
  wrong.calibration.reset();
  wrong.save_calibration = folder_ / "s";
  EXPECT_EQ(code(wrong), "CALIBRATION_CONFLICT");
}

TEST_F(QuantizeTest, AnOutputThatExistsIsRefusedOrReplacedWhole) {
  fs::create_directories(folder_ / "out");
  write_text(folder_ / "out" / "mine.txt", "keep");
  EXPECT_THROW(run(request("out")), Error);
  EXPECT_EQ(read_text(folder_ / "out" / "mine.txt"), "keep");
  auto forced = request("out");
  forced.overwrite = Overwrite::replace;
  run(forced);
  EXPECT_FALSE(fs::exists(folder_ / "out" / "mine.txt"));
  EXPECT_TRUE(fs::exists(folder_ / "out" / "config.json"));
}

TEST_F(QuantizeTest, AQuantizedModelIsNotQuantizedAgain) {
  run(request("once"));
  ThreadPool pool(1);
  try {
    quantize(*io::open_checkpoint(folder_ / "once"), request("twice"), host_isa(), pool, notes_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "Q_ALREADY");
  }
}

TEST_F(QuantizeTest, CancelledInAnyPhaseNothingIsLeftBehind) {
  for (const char* phase : {"checking", "calibrating", "quantizing model.layers.0"}) {
    notes_.stop_at = phase;
    notes_.stopped = false;
    EXPECT_EQ(refused(request("out")).code(), "CANCELLED") << phase;
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      names.insert(entry.path().filename());
    EXPECT_EQ(names, (std::set<std::string>{"calibration.txt", "tiny"}));
  }
}

TEST_F(QuantizeTest, WithoutATokenizerAMethodThatNeedsNoTextStillWorks) {
  fs::remove(model() / "tokenizer.json");
  fs::remove(model() / "tokenizer_config.json");
  auto bare = request("out", "rtn");
  bare.calibration.reset();
  EXPECT_NO_THROW(run(bare));
  EXPECT_THAT(notes_.text, HasSubstr("no tokenizer"));
  EXPECT_EQ(refused(request("needs-text")).code(), "TK_MISSING");
}

TEST_F(QuantizeTest, WindowsFitTheModelWhereNobodySaysHowLongTheyAre) {
  QuantizeRequest asked = request("fitted");
  EXPECT_EQ(CalibrationWindows().samples, 128U);
  EXPECT_EQ(CalibrationWindows().seqlen, 2048U);
  asked.windows.seqlen = CalibrationWindows().seqlen;
  asked.fit_windows = true;
  run(asked);
  const std::size_t context = model::read_spec(*io::open_checkpoint(model())).info.context;
  ASSERT_LT(context, 2048U);
  const Json report = Json::parse(read_text(asked.output / "tender_report.json"));
  EXPECT_EQ(report.at("calibration").at("seqlen"), context);
}

}  // namespace
}  // namespace tender::compress
