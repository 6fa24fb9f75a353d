// Token counts that evaluation.md 5.1 states for SmolLM2.

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "eval/perplexity.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"

namespace tender::eval {
namespace {

/// The model that tools/get-model fetches, in $TENDER_MODELS or models/.
std::optional<std::filesystem::path> smollm2() {
  const char* given = std::getenv("TENDER_MODELS");
  const std::filesystem::path root = given != nullptr ? given : testing::source_path("models");
  const auto path = root / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (std::filesystem::exists(path)) return path;
  return std::nullopt;
}

class SmolLm2AnchorTest : public ::testing::Test {
 protected:
  PerplexityPlan plan(const std::filesystem::path& text, const PerplexityOptions& options,
                      std::optional<std::string_view> join = std::nullopt) {
    const TextInput input =
        read_text(text, join, options.protocol->known_join, compress::InvalidText::refuse, silent_);
    return plan_perplexity(input, *text::open_tokenizer(*io::open_checkpoint(*smollm2())), options);
  }
  Progress silent_;
};

#define SMOLLM2_OR_SKIP() \
  if (!smollm2())         \
  GTEST_SKIP() << "needs smollm2-135m: tools/get-model smollm2-135m (or TENDER_MODELS)"

TEST_F(SmolLm2AnchorTest, JoinedItHas304978TokensIn148WindowsOf2048) {
  SMOLLM2_OR_SKIP();
  TENDER_DATA_OR_SKIP(text, "wikitext2/wiki.test.raw");
  const auto cut = plan(text, {.protocol = &protocol("gptq")});
  EXPECT_EQ(cut.tokens.size(), 304'978U);
  EXPECT_EQ(cut.windows, 148U);
  EXPECT_EQ(cut.seqlen, 2048U);
  EXPECT_EQ(cut.text_sha256, "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83");
}

TEST_F(SmolLm2AnchorTest, RawItHas303415TokensIn592WindowsOf512) {
  SMOLLM2_OR_SKIP();
  TENDER_DATA_OR_SKIP(text, "wikitext2/wiki.test.raw");
  const auto cut = plan(text, {.protocol = &protocol("llama.cpp")});
  EXPECT_EQ(cut.tokens.size(), 303'415U);
  EXPECT_EQ(cut.windows, 592U);
  EXPECT_FALSE(cut.bos.has_value()) << "SmolLM2 adds no BOS";
  EXPECT_EQ(plan(text, {.protocol = &protocol("gptq")}, "none").tokens.size(), 303'415U)
      << "with the final newline as well";
}

}  // namespace
}  // namespace tender::eval
