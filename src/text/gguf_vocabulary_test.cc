#include "text/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/support/test_support.h"
#include "text/byte_level.h"
#include "text/hf_tokenizer_json.h"

namespace tender::text {
namespace {

using io::GgufMetadata;
using io::GgufValue;
using Type = GgufValue::Type;
using Strings = std::vector<std::string>;

GgufValue text(std::string value) { return {Type::string, Type::u32, std::move(value)}; }
GgufValue number(std::uint64_t value) { return {Type::u32, Type::u32, value}; }
GgufValue boolean(bool value) { return {Type::boolean, Type::u32, value}; }
GgufValue list(Strings values) { return {Type::array, Type::string, std::move(values)}; }
GgufValue floats(std::vector<double> values) { return {Type::array, Type::f32, std::move(values)}; }
GgufValue integers(std::vector<std::int64_t> values, Type element = Type::i32) {
  return {Type::array, element, std::move(values)};
}

/// A byte-level vocabulary: 256 stand-ins, "he", "<|end|>" (control).
GgufMetadata::Map byte_level(const std::string& pre) {
  Strings tokens;
  for (unsigned byte = 0; byte < 256; ++byte)
    tokens.emplace_back(stand_in(static_cast<unsigned char>(byte)));
  tokens.insert(tokens.end(), {"he", "12", "<|end|>"});
  std::vector<std::int64_t> types(tokens.size(), 1);
  types.back() = 3;
  return {{"tokenizer.ggml.model", text("gpt2")},
          {"tokenizer.ggml.pre", text(pre)},
          {"tokenizer.ggml.tokens", list(tokens)},
          {"tokenizer.ggml.token_type", integers(types)},
          {"tokenizer.ggml.merges", list({"h e", "1 2"})},
          {"tokenizer.ggml.bos_token_id", number(258)},
          {"tokenizer.ggml.eos_token_id", number(258)}};
}

/// A SentencePiece vocabulary with byte tokens for line feed and é.
GgufMetadata::Map sentencepiece() {
  return {{"tokenizer.ggml.model", text("llama")},
          {"tokenizer.ggml.tokens",
           list({"<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\xe2\x96\x81", "a", "b",
                 "\xe2\x96\x81"
                 "a",
                 "<u>", ""})},
          {"tokenizer.ggml.scores", floats({0, 0, 0, 0, 0, 0, -1, -2, -3, -1, 0, 0})},
          {"tokenizer.ggml.token_type", integers({2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 4, 5})},
          {"tokenizer.ggml.bos_token_id", number(1)},
          {"tokenizer.ggml.eos_token_id", number(2)},
          {"tokenizer.ggml.unknown_token_id", number(0)}};
}

Pipeline open(GgufMetadata::Map values) {
  return Pipeline(read_gguf_tokenizer(GgufMetadata("x.gguf", std::move(values))));
}

std::string code_of(GgufMetadata::Map values) {
  try {
    open(std::move(values));
  } catch (const Error& error) {
    EXPECT_EQ(error.details().file.substr(0, 6), "x.gguf");
    return error.code();
  }
  return "";
}

std::string code_with(GgufMetadata::Map values, const std::string& key, GgufValue value) {
  values["tokenizer.ggml." + key] = std::move(value);
  return code_of(std::move(values));
}

std::string code_without(GgufMetadata::Map values, const std::string& key) {
  values.erase("tokenizer.ggml." + key);
  return code_of(std::move(values));
}

TEST(GgufVocabularyTest, SentencePieceMetadataGivesPrefixBytesAndSpecialTokens) {
  const Pipeline tokenizer = open(sentencepiece());
  EXPECT_EQ(tokenizer.encode("a a\n", {}), (std::vector<TokenId>{1, 9, 9, 3}));
  EXPECT_EQ(tokenizer.encode("<s>b", {.add_special = false}), (std::vector<TokenId>{1, 6, 8}));
  EXPECT_EQ(tokenizer.encode("é", {.add_special = false}), (std::vector<TokenId>{6, 4, 5}));
  EXPECT_EQ(tokenizer.encode("xx", {.add_special = false}), (std::vector<TokenId>{6, 0}))
      << "one unknown for a run";
  EXPECT_EQ(tokenizer.encode("<u>", {.add_special = false, .parse_special = false}),
            (std::vector<TokenId>{10}))
      << "user-defined tokens are found in literal text too";
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{1, 9, 4, 5}, false), "aé");
  EXPECT_TRUE(tokenizer.special().adds_bos);
}

TEST(GgufVocabularyTest, FlagsOfTheMetadataRuleBorders) {
  auto values = sentencepiece();
  values["tokenizer.ggml.add_bos_token"] = boolean(false);
  values["tokenizer.ggml.add_eos_token"] = boolean(true);
  values["tokenizer.ggml.add_space_prefix"] = boolean(false);
  EXPECT_EQ(open(values).encode("a", {}), (std::vector<TokenId>{7, 2}));
  values["tokenizer.ggml.remove_extra_whitespaces"] = boolean(true);
  EXPECT_EQ(open(values).encode("  a   a  ", {.add_special = false}), (std::vector<TokenId>{7, 9}));
}

TEST(GgufVocabularyTest, TheNameOfThePreTokenizerDecidesAboutDigits) {
  const std::vector<TokenId> pair = {257};
  const std::vector<TokenId> alone = {'1', '2'};
  const EncodeOptions plain{.add_special = false};
  EXPECT_EQ(open(byte_level("gpt-2")).encode("12", plain), pair);
  EXPECT_EQ(open(byte_level("smollm")).encode("12", plain), alone);
  EXPECT_EQ(open(byte_level("llama-bpe")).encode("12", plain), pair);
  EXPECT_EQ(open(byte_level("qwen2")).encode("12", plain), alone);
  EXPECT_TRUE(open(byte_level("llama-bpe")).special().adds_bos);
  EXPECT_FALSE(open(byte_level("gpt-2")).special().adds_bos);
}

TEST(GgufVocabularyTest, AnUnknownNameIsRefusedAndAMissingOneIsRemarkedOn) {
  EXPECT_EQ(code_of(byte_level("no-such-rule")), "TK_COMPONENT");
  auto values = byte_level("");
  values.erase("tokenizer.ggml.pre");
  EXPECT_EQ(open(values).notes().size(), 1U);
  EXPECT_EQ(open(byte_level("default")).notes().size(), 0U);
  const auto ids = open(values).encode("he, 1234!", {.add_special = false});
  EXPECT_EQ(ids, (std::vector<TokenId>{256, ',', 0x20, 257, '3', '4', '!'}));
}

TEST(GgufVocabularyTest, ModelsThatAreNotBpeAreRefusedByName) {
  for (const char* model : {"bert", "t5", "rwkv", "plamo2"})
    EXPECT_EQ(code_with(byte_level("gpt-2"), "model", text(model)), "TK_COMPONENT") << model;
  EXPECT_EQ(code_with(byte_level("gpt-2"), "model", text("no_vocab")), "TK_MISSING");
  EXPECT_EQ(code_without(byte_level("gpt-2"), "model"), "TK_MISSING");
}

TEST(GgufVocabularyTest, ArraysOfOtherLengthOrElementTypeAreRefused) {  // G9a
  EXPECT_EQ(code_with(sentencepiece(), "scores", floats({0, 1})), "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "scores", integers(std::vector<std::int64_t>(12), Type::u8)),
            "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "scores", floats(std::vector<double>(12, NAN))), "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "token_type", integers({1, 1})), "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "token_type", integers(std::vector<std::int64_t>(12, 7))),
            "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "token_type", floats(std::vector<double>(12, 1))),
            "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "tokens", floats({1})), "GG_VOCAB");
  EXPECT_EQ(code_with(sentencepiece(), "tokens", list({})), "GG_VOCAB");
  EXPECT_EQ(code_with(byte_level("gpt-2"), "merges", integers({1})), "GG_VOCAB");
  EXPECT_EQ(code_with(byte_level("gpt-2"), "merges", list({})), "GG_VOCAB");
  EXPECT_EQ(code_without(byte_level("gpt-2"), "merges"), "GG_KEY_MISSING");
  EXPECT_EQ(code_without(sentencepiece(), "scores"), "GG_KEY_MISSING");
  EXPECT_EQ(code_without(sentencepiece(), "tokens"), "GG_KEY_MISSING");
}

TEST(GgufVocabularyTest, SpecialIdsBeyondTheVocabularyAreRefused) {  // G9b
  for (const char* name :
       {"bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "cls", "mask"}) {
    EXPECT_EQ(code_with(sentencepiece(), std::string(name) + "_token_id", number(12)),
              "GG_SPECIAL_ID")
        << name;
    const GgufValue negative{Type::i32, Type::u32, std::int64_t{-1}};
    EXPECT_EQ(code_with(sentencepiece(), std::string(name) + "_token_id", negative),
              "GG_SPECIAL_ID")
        << name;
  }
}

std::string code_with_token(std::size_t place, const std::string& token) {
  auto values = sentencepiece();
  std::get<Strings>(values["tokenizer.ggml.tokens"].value)[place] = token;
  return code_of(std::move(values));
}

TEST(GgufVocabularyTest, ByteTokensHaveTwoHexDigits) {  // G9c
  for (const char* bad : {"<0x-1>", "<0x1>", "<0x100>", "0x0A", "<0xZZ>"})
    EXPECT_EQ(code_with_token(3, bad), "GG_BYTE_TOKEN") << bad;
}

TEST(GgufVocabularyTest, MergesOfUnknownTokensAreRefused) {  // G9d
  for (const char* bad : {"h x ", "x h", "he", "h ", " ", ""})
    EXPECT_EQ(code_with(byte_level("gpt-2"), "merges", list({"h e", bad})), "GG_MERGE") << bad;
}

TEST(GgufVocabularyTest, TokensAreNeitherEmptyNorHuge) {  // G9e
  EXPECT_EQ(code_with_token(7, ""), "GG_TOKEN");
  EXPECT_EQ(code_with_token(7, std::string(64U << 10U, 'x')), "");
  EXPECT_EQ(code_with_token(7, std::string((64U << 10U) + 1, 'x')), "GG_TOKEN");
  EXPECT_EQ(code_with_token(7, std::string(1U << 20U, 'x')), "GG_TOKEN");
}

TEST(GgufVocabularyTest, TokensThatAreNoUtf8AreRefusedInSentencePieceAndTakenInByteLevel) {  // G9f
  EXPECT_EQ(code_with_token(7, "\xff"), "GG_TOKEN_UTF8");
  auto values = byte_level("gpt-2");
  std::get<Strings>(values["tokenizer.ggml.tokens"].value)[257] = "\xff";
  values["tokenizer.ggml.merges"] = list({"h e"});
  EXPECT_EQ(code_of(std::move(values)), "");
}

TEST(GgufVocabularyTest, ACompleteTokenizerJsonInsideGoesFirst) {
  auto values = byte_level("no-such-rule");
  values["tokenizer.huggingface.json"] =
      text(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})");
  values["tokenizer.ggml.bos_token_id"] = number(1);
  values["tokenizer.ggml.eos_token_id"] = number(2);
  const Pipeline tokenizer = open(values);
  EXPECT_EQ(tokenizer.encode("ab", {}), (std::vector<TokenId>{2}));
  EXPECT_EQ(tokenizer.special().eos, 2);
  EXPECT_EQ(code_with(values, "eos_token_id", number(3)), "GG_SPECIAL_ID");
}

}  // namespace
}  // namespace tender::text
