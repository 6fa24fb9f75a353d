#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace tender::text {
namespace {

/// The model that tools/get-model fetches, in $TENDER_MODELS or models/.
std::filesystem::path smollm2() {
  const char* given = std::getenv("TENDER_MODELS");
  const std::filesystem::path root = given != nullptr ? given : testing::source_path("models");
  return root / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

class SmolLm2TemplateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(smollm2()))
      GTEST_SKIP() << "needs smollm2-135m: tools/get-model smollm2-135m (or TENDER_MODELS)";
    const auto tokenizer = open_tokenizer(*io::open_checkpoint(smollm2()));
    template_.emplace(tokenizer->chat_template());
  }
  std::optional<ChatTemplate> template_;
};

TEST_F(SmolLm2TemplateTest, ATalkWithoutSystemGetsTheModelsOwn) {
  const auto messages = OrderedJson::parse(R"([{"role":"user","content":" Hi "}])");
  EXPECT_EQ(
      template_->render(messages),
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
      "<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(SmolLm2TemplateTest, TurnsFollowEachOther) {
  const auto messages = OrderedJson::parse(
      R"([{"role":"system","content":"S"},{"role":"user","content":"U"},{"role":"assistant","content":"A"}])");
  EXPECT_EQ(template_->render(messages, {.add_generation_prompt = false}),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\nA<|im_end|>\n");
}

}  // namespace
}  // namespace tender::text
