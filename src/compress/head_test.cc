// A head that is quantized: with a method of its own, beside the embedding.

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "compress/convert.h"
#include "compress/memory_checkpoint.h"
#include "compress/quantize_test_support.h"
#include "compress/stored_parts.h"
#include "model/model.h"
#include "quant/registry.h"

namespace tender::compress {
namespace {

class HeadTest : public QuantizeTest {
 protected:
  Report with_head(const std::string& name, int bits, bool tied) {
    testing::write_tiny_model(model(), {.tied_head = tied});
    auto asked = request(name);
    asked.recipe.head_bits = bits;
    return run(asked);
  }

  std::unique_ptr<model::Model> load(const fs::path& path, Isa isa = host_isa()) {
    ThreadPool pool(1);
    return model::load_model(*io::open_checkpoint(path), isa, pool, notes_);
  }

  /// Logits of some tokens, all positions.
  static Matrix logits_of(const model::Model& model, std::size_t threads = 1) {
    ThreadPool pool(threads);
    const std::vector<model::TokenId> tokens = {3, 141, 59, 26, 5};
    const auto sequence = model.sequence(tokens.size());
    const model::BatchItem item{sequence.get(), tokens, 0};
    Matrix hidden;
    model.forward({&item, 1}, hidden, pool);
    Matrix logits(hidden.rows(), model.info().vocabulary);
    model.logits(hidden.view(), logits.view(), pool);
    return logits;
  }

  /// Those of the head, or all others. The checkpoint outlives them.
  static std::vector<io::TensorToWrite> tensors_of(const io::Checkpoint& checkpoint, bool head) {
    std::vector<io::TensorToWrite> tensors;
    for (const TensorInfo& tensor : checkpoint.tensors().tensors())
      if (tensor.name.starts_with("lm_head.") == head)
        tensors.push_back({tensor.name, tensor.type, tensor.shape,
                           [bytes = tensor.bytes](const auto& put) { put(bytes); }});
    return tensors;
  }

  static std::string code_of(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      return error.code();
    }
    return "no error";
  }

  static double relative_difference(const Matrix& a, const Matrix& b) {
    double error = 0, size = 0;
    for (std::size_t i = 0; i < a.span().size(); ++i) {
      const double d = static_cast<double>(a.span()[i]) - static_cast<double>(b.span()[i]);
      error += d * d;
      size += static_cast<double>(a.span()[i]) * static_cast<double>(a.span()[i]);
    }
    return std::sqrt(error / size);
  }
};

TEST_F(HeadTest, ItIsLoadedWithItsMethodAndTheEmbeddingStays) {
  for (const bool tied : {true, false})
    for (const int bits : {8, 4}) {
      const std::string name = std::string(tied ? "tied" : "own") + std::to_string(bits);
      const Report report = with_head(name, bits, tied);
      ASSERT_TRUE(report.head.has_value());
      EXPECT_EQ(report.head->out, 274U);
      EXPECT_EQ(report.head->method, "tender");
      EXPECT_EQ(report.layers.size(), 2U * 7U) << "it is none of the layers";
      const auto loaded = load(folder_ / name);
      ASSERT_NE(loaded->head(), nullptr);
      EXPECT_EQ(loaded->head()->method(), "tender");
      EXPECT_EQ(loaded->head()->inputs(), quant::InputRounding::by_row);
      EXPECT_EQ(loaded->site(0).method(), "tender");
      const auto checkpoint = io::open_checkpoint(folder_ / name);
      EXPECT_NE(checkpoint->tensors().find("model.embed_tokens.weight"), nullptr);
      EXPECT_EQ(checkpoint->tensors().find("lm_head.weight"), nullptr);
      const Json config = Json::parse(read_text(folder_ / name / "config.json"));
      EXPECT_EQ(config["quantization_config"]["layers"]["lm_head"]["weight_bits"], bits);
      EXPECT_EQ(config["quantization_config"]["ignore"], Json::array());
    }
}

TEST_F(HeadTest, ItsLogitsAreNearThoseOfTheFloatHead) {
  with_head("none", 0, true);
  with_head("eight", 8, true);
  with_head("four", 4, true);
  const Matrix expected = logits_of(*load(folder_ / "none"));
  // Rounding errors of step / sqrt(12) on both sides, independent: weights of max |w| near 2.4
  // spreads have 0.0055 at 8 bits and 0.1 at 4, rows 0.0055.
  const double eight = relative_difference(expected, logits_of(*load(folder_ / "eight")));
  const double four = relative_difference(expected, logits_of(*load(folder_ / "four")));
  EXPECT_GT(eight, 0.0055 / 3);
  EXPECT_LT(eight, 0.0055 * 3);
  EXPECT_GT(four, eight * 3);
  EXPECT_LT(four, 0.3);
}

TEST_F(HeadTest, RowsLetAHeadOf4BitsMakeUpForItsRounding) {
  // Beside a method that needs no text of its own, so that the heads alone differ.
  testing::write_tiny_model(model(), {.tied_head = true});
  const auto with = [&](const std::string& name, int bits, bool text) {
    auto asked = request(name, "rtn");
    asked.recipe.head_bits = bits;
    if (!text) asked.calibration.reset();
    notes_.text.clear();
    run(asked);
    return logits_of(*load(folder_ / name));
  };
  const Matrix expected = with("float", 0, true);
  EXPECT_THAT(notes_.text, HasSubstr("the calibration text is not used"));
  const double nearest = relative_difference(expected, with("nearest", 4, false));
  EXPECT_THAT(notes_.text, HasSubstr("the head's weights are rounded to nearest"));
  const double compensated = relative_difference(expected, with("compensated", 4, true));
  EXPECT_EQ(notes_.text, "");
  EXPECT_LT(compensated, nearest);
  for (const bool text : {false, true}) {
    const std::string name = text ? "compensated" : "nearest";
    const Json config = Json::parse(read_text(folder_ / name / "config.json"));
    EXPECT_EQ(config["quantization_config"]["layers"]["lm_head"]["weight_search"],
              text ? "gptq" : "rtn");
  }
  const Matrix eight = with("eight", 8, true);
  EXPECT_THAT(notes_.text, HasSubstr("the calibration text is not used"));
}

TEST_F(HeadTest, AnInterruptedRunGoesOnToTheSameHead) {
  for (const char* method : {"rtn", "tender", "gptq"})
    for (const char* stop : {"quantizing model.layers.1", "calibrating lm_head"}) {
      const std::string name = std::string(method) + (stop[0] == 'q' ? "-layer" : "-head");
      auto whole = request(name + "-whole", method);
      whole.recipe.head_bits = 4;
      auto again = whole;
      again.output = folder_ / (name + "-again");
      run(whole);
      notes_.stop_at = stop;
      EXPECT_EQ(refused(again).code(), "CANCELLED");
      notes_.stop_at.clear();
      notes_.stopped = false;
      notes_.text.clear();
      run(again);
      EXPECT_THAT(notes_.text,
                  HasSubstr(stop[0] == 'q' ? "1 of 2 layers are done" : "2 of 2 layers are done"));
      EXPECT_EQ(model_of(again.output), model_of(whole.output)) << name;
    }
}

TEST_F(HeadTest, ItsBytesAreTheSameForAnyThreadsAndInstructionSet) {
  testing::write_tiny_model(model(), {.tied_head = true});
  std::map<std::string, std::string> first;
  for (const auto& [threads, isa] :
       {std::pair(1U, host_isa()), std::pair(3U, host_isa()), std::pair(1U, Isa::scalar)}) {
    auto asked = request("out");
    asked.recipe.head_bits = 4;
    asked.recipe.keep_float = {"o_proj"};
    asked.recipe.attention = model::AttentionBits{8, 8};
    asked.overwrite = Overwrite::replace;
    run(asked, threads, isa);
    const auto files = model_of(folder_ / "out");
    if (first.empty()) first = files;
    EXPECT_EQ(files, first) << threads;
  }
}

TEST_F(HeadTest, ItSeesRowsBesideAStoredCalibration) {
  testing::write_tiny_model(model(), {.tied_head = true});
  auto whole = request("whole");
  whole.recipe.head_bits = 4;
  whole.save_calibration = folder_ / "seen.calibration";
  run(whole);
  auto stored = request("stored");
  stored.recipe.head_bits = 4;
  stored.load_calibration = folder_ / "seen.calibration";
  run(stored);
  EXPECT_EQ(model_of(stored.output), model_of(whole.output));
}

TEST_F(HeadTest, LogitsHaveTheSameBitsForAnyThreadsAndInstructionSet) {
  with_head("out", 4, true);
  const Matrix expected = logits_of(*load(folder_ / "out", Isa::scalar));
  for (const std::size_t threads : {1U, 3U}) {
    const Matrix got = logits_of(*load(folder_ / "out"), threads);
    EXPECT_TRUE(std::ranges::equal(got.span(), expected.span()));
  }
}

TEST_F(HeadTest, ConvertedItIsAHeadOfItsOwn) {
  for (const bool tied : {true, false}) {
    const std::string name = tied ? "tied" : "own";
    with_head(name, 8, tied);
    convert(*io::open_checkpoint(folder_ / name),
            {.output = folder_ / (name + "-float"), .type = DType::f32}, notes_);
    const auto checkpoint = io::open_checkpoint(folder_ / (name + "-float"));
    EXPECT_NE(checkpoint->tensors().find("lm_head.weight"), nullptr);
    EXPECT_EQ((*checkpoint->config())["tie_word_embeddings"], false);
    EXPECT_EQ(load(folder_ / (name + "-float"))->head(), nullptr);
    const auto quantized = io::open_checkpoint(folder_ / name);
    const model::ModelSpec spec = model::read_spec(*quantized);
    Matrix codes(spec.head.shape.outs.front(), spec.head.shape.in);
    model::WeightReader(*quantized, spec).packed(spec.head)->dequantize(0, codes.view());
    const Matrix written =
        model::WeightReader(*checkpoint, model::read_spec(*checkpoint)).matrix("lm_head.weight");
    EXPECT_TRUE(std::ranges::equal(written.span(), codes.span()));
  }
}

TEST_F(HeadTest, OtherBitsAreRefusedAndAnotherRunDoesNotTakeThemOver) {
  auto wrong = request("out");
  wrong.recipe.head_bits = 3;
  EXPECT_EQ(refused(wrong).code(), "HEAD_BITS");
  notes_.stop_at = "quantizing model.layers.1";
  EXPECT_EQ(refused(request("out")).code(), "CANCELLED");
  notes_.stop_at.clear();
  notes_.stopped = false;
  auto other = request("out");
  other.recipe.head_bits = 8;
  const Error error = refused(other);
  EXPECT_EQ(error.code(), "RUN_OTHER");
  EXPECT_EQ(error.details().item, "head bits");
}

TEST_F(HeadTest, PartsOfAnotherMethodAndOfNoneAreRefused) {
  with_head("out", 8, true);
  const fs::path path = folder_ / "out" / "config.json";
  Json config = Json::parse(read_text(path));
  config["quantization_config"]["layers"]["lm_head"] = {{"method", "rtn"}};
  write_text(path, config.dump());
  EXPECT_EQ(code_of([&] { load(folder_ / "out"); }), "CK_PART_MISSING");
  config["quantization_config"]["layers"].erase("lm_head");
  write_text(path, config.dump());
  EXPECT_EQ(code_of([&] { load(folder_ / "out"); }), "HF_TENSOR_EXTRA");
}

TEST_F(HeadTest, RowsThatAreRoundedByPositionAreRefused) {
  with_head("out", 8, true);
  const auto written = io::open_checkpoint(folder_ / "out");
  const model::ModelSpec spec = model::read_spec(*written);
  ThreadPool pool(1);
  const Json options = {{"activation_granularity", "tensor"}};
  const auto quantizer = quant::method("rtn").quantizer(options, spec.head.shape);
  const Matrix embedding = model::WeightReader(*written, spec).matrix("model.embed_tokens.weight");
  const std::vector<std::int32_t> positions(1, 0);
  quantizer->observe({embedding.view().rows_from(3, 1), positions});
  const MatrixView<const float> view = embedding.view();
  StoredParts head;
  save_site(*quantizer->quantize({&view, 1}, pool), spec.head, head);
  std::vector<io::TensorToWrite> tensors = tensors_of(*written, false);
  head.list(tensors);
  Json config = *written->config();
  config["quantization_config"]["layers"]["lm_head"] = options;
  config["quantization_config"]["layers"]["lm_head"]["method"] = "rtn";
  EXPECT_EQ(code_of([&] {
              model::load_model(MemoryCheckpoint(config.dump(), tensors), host_isa(), pool, notes_);
            }),
            "QC_KEY");
}

TEST_F(HeadTest, AModelOfWhichOnlyHeadOrAttentionIsQuantizedIsNotQuantizedAgain) {
  with_head("out", 8, true);
  const auto written = io::open_checkpoint(folder_ / "out"), floats = io::open_checkpoint(model());
  std::vector<io::TensorToWrite> layers = tensors_of(*floats, false), all = layers;
  for (io::TensorToWrite& part : tensors_of(*written, true)) all.push_back(std::move(part));
  Json config = *written->config();
  Json& quantization = config["quantization_config"];
  for (const model::SiteSpec& site : model::read_spec(*floats).sites)
    quantization["ignore"].push_back(site.name);
  ThreadPool pool(1);
  const auto code_with = [&](const std::vector<io::TensorToWrite>& tensors) {
    return code_of([&] {
      quantize(MemoryCheckpoint(config.dump(), tensors), request("again"), host_isa(), pool,
               notes_);
    });
  };
  EXPECT_EQ(code_with(all), "Q_ALREADY");
  quantization["layers"] = Json::object();
  quantization["attention"] = {{"bits", 8}, {"kv_bits", 8}};
  EXPECT_EQ(code_with(layers), "Q_ALREADY");
}

}  // namespace
}  // namespace tender::compress
