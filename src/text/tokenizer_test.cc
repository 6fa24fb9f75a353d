#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/rng.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"
#include "text/hf_tokenizer_json.h"
#include "text/sentencepiece_file.h"

namespace tender::text {
namespace {

Json golden(const std::string& name) {
  const Json document =
      Json::parse(testing::read_text(testing::source_path("src/text/golden/tiny_tokenizers.json")));
  for (const Json& entry : document["tokenizers"]) {
    if (entry["name"] != name) continue;
    Json out = entry["document"];
    out["model"].update(document["models"][entry["model"].get<std::string>()]);
    return out;
  }
  throw std::runtime_error("no golden tokenizer " + name);
}

/// The smallest tokenizer: a, b and ab.
Json smallest() {
  return {{"added_tokens", Json::array({{{"id", 3}, {"content", "<s>"}, {"special", true}}})},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
            {"merges", Json::array({"a b"})}}}};
}

std::string code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_NE(error.details().hint, "") << error.what();
    return error.code();
  }
  return "";
}

std::string code_of(const Json& document) {
  return code_of([&] { Pipeline(read_tokenizer_json(to_text(document), "tokenizer.json")); });
}

std::string code_of_directory(const std::map<std::string, std::string>& files) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, text] : files) testing::write_text(folder / name, text);
  return code_of([&] { open_tokenizer(*io::open_checkpoint(folder.path(), io::Need::tokenizer)); });
}

std::unique_ptr<Tokenizer> open_directory(const std::map<std::string, std::string>& files) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, text] : files) testing::write_text(folder / name, text);
  return open_tokenizer(*io::open_checkpoint(folder.path(), io::Need::tokenizer));
}

TEST(TokenizerTest, MergesAreReadInBothSpellings) {
  Json document = smallest();
  const Pipeline strings(read_tokenizer_json(to_text(document), "tokenizer.json"));
  document["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  const Pipeline pairs(read_tokenizer_json(to_text(document), "tokenizer.json"));
  EXPECT_EQ(strings.encode("abba", {}), (std::vector<TokenId>{2, 1, 0}));
  EXPECT_EQ(pairs.encode("abba", {}), strings.encode("abba", {}));
}

TEST(TokenizerTest, TokensMayContainBlanks) {
  const Json document = {
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"a", 0}, {" ", 1}, {"a ", 2}, {" a", 3}, {"a a", 4}}},
        {"merges", Json::array({Json::array({"a", " "}), Json::array({"a ", "a"})})}}}};
  const Pipeline tokenizer(read_tokenizer_json(to_text(document), "tokenizer.json"));
  EXPECT_EQ(tokenizer.encode("a a a", {}), (std::vector<TokenId>{2, 4}));
}

TEST(TokenizerTest, EmptyOrUnknownMergesAreRefused) {
  Json document = smallest();
  for (const Json& merges :
       {Json::array(), Json::array({"a c"}), Json::array({"b a"}), Json::array({"ab"}),
        Json::array({"a b b"}), Json::array({Json::array({"a"})}), Json::array({7})}) {
    document["model"]["merges"] = merges;
    EXPECT_EQ(code_of(document), "TK_MERGES") << merges;
  }
}

TEST(TokenizerTest, PatternsThatCannotBeRunAreRefused) {
  Json document = smallest();
  document["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
  EXPECT_EQ(code_of(document), "TK_REGEX");
  document["pre_tokenizer"]["pattern"]["Regex"] = "(a+)+$";
  const Pipeline slow(read_tokenizer_json(to_text(document), "tokenizer.json"));
  EXPECT_EQ(code_of([&] { slow.encode(std::string(64, 'a') + "b", {}); }), "TK_REGEX");
}

TEST(TokenizerTest, UnknownComponentsAreRefusedByName) {
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    Json document = smallest();
    document[part] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}};
    EXPECT_EQ(code_of(document), "TK_COMPONENT") << part;
    document[part] = {{"type", "NoSuchThing"}};
    EXPECT_EQ(code_of(document), "TK_COMPONENT") << part;
  }
  Json document = smallest();
  document["model"]["type"] = "WordPiece";
  EXPECT_EQ(code_of(document), "TK_COMPONENT");
  document = smallest();
  document["model"]["end_of_word_suffix"] = "</w>";
  EXPECT_EQ(code_of(document), "TK_COMPONENT");
  document = smallest();
  document["model"]["dropout"] = 0.1;
  EXPECT_EQ(code_of(document), "TK_COMPONENT");
  try {
    document = smallest();
    document["decoder"] = {{"type", "CTC"}};
    read_tokenizer_json(to_text(document), "tokenizer.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("CTC"), std::string::npos) << error.what();
  }
}

TEST(TokenizerTest, IdsThatAreDuplicateNegativeOrTooLargeAreRefusedAndHolesAreNot) {
  for (const Json& id :
       {Json(0), Json(-1), Json(std::int64_t{1} << 33U), Json(1 << 24), Json("1"), Json(1.5)}) {
    Json document = smallest();
    document["model"]["vocab"]["b"] = id;
    EXPECT_EQ(code_of(document), "TK_ID") << id;
  }
  for (const Json& id : {Json(0), Json(-7), Json(std::uint64_t{1} << 63U)}) {
    Json document = smallest();
    document["added_tokens"][0]["id"] = id;
    EXPECT_EQ(code_of(document), "TK_ID") << id;
  }
  Json document = smallest();
  document["added_tokens"].push_back(document["added_tokens"][0]);
  EXPECT_EQ(code_of(document), "TK_ID");
  document = smallest();
  document["model"]["vocab"]["ab"] = 1000;
  const Pipeline holes(read_tokenizer_json(to_text(document), "tokenizer.json"));
  EXPECT_EQ(holes.vocabulary(), 1001U);
  EXPECT_FALSE(holes.exists(500));
  EXPECT_EQ(holes.piece(500, true), "");
  EXPECT_EQ(holes.decode(std::vector<TokenId>{-1, 500, 2000}, true), "");
}

TEST(TokenizerTest, DamagedJsonIsRefused) {
  EXPECT_EQ(code_of([] { read_tokenizer_json("{", "tokenizer.json"); }), "TK_JSON");
  EXPECT_EQ(code_of([] { read_tokenizer_json("[]", "tokenizer.json"); }), "TK_JSON");
  EXPECT_EQ(code_of([] { read_tokenizer_json("{}", "tokenizer.json"); }), "TK_JSON");
  EXPECT_EQ(code_of([] { read_tokenizer_json(std::string(1000, '['), "tokenizer.json"); }),
            "JSON_DEPTH");
  for (const char* part :
       {"normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model"}) {
    Json document = smallest();
    document[part] = 7;
    EXPECT_EQ(code_of(document), "TK_JSON") << part;
  }
  Json document = smallest();
  document["model"]["vocab"]["long"] = 5;
  document["model"]["vocab"][std::string((64U << 10U) + 1, 'x')] = 6;
  EXPECT_EQ(code_of(document), "TK_TOKEN");
}

TEST(TokenizerTest, ANormalizerThatMultipliesTheTextIsStopped) {
  Json document = smallest();
  const Json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(60, doubling)}};
  document["added_tokens"] = Json::array();
  const Pipeline tokenizer(read_tokenizer_json(to_text(document), "tokenizer.json"));
  EXPECT_EQ(code_of([&] { tokenizer.encode("a", {}); }), "TK_GROWTH");
}

TEST(TokenizerTest, ASpecialTokenThatTheVocabularyLacksIsRefused) {
  const std::string document = to_text(smallest());
  for (const char* config : {R"({"bos_token":"<bos>"})", R"({"eos_token":{"content":"<eos>"}})",
                             R"({"pad_token":"x"})", R"({"additional_special_tokens":["<x>"]})"})
    EXPECT_EQ(code_of_directory({{"tokenizer.json", document}, {"tokenizer_config.json", config}}),
              "TK_SPECIAL")
        << config;
  EXPECT_EQ(code_of_directory({{"tokenizer.json", document},
                               {"special_tokens_map.json", R"({"eos_token":"<eos>"})"}}),
            "TK_SPECIAL");
  EXPECT_EQ(code_of_directory(
                {{"tokenizer.json", document}, {"tokenizer_config.json", R"({"bos_token":7})"}}),
            "TK_JSON");
}

TEST(TokenizerTest, ADirectoryWithoutTokenizerFilesIsRefused) {
  EXPECT_EQ(code_of_directory({{"config.json", "{}"}}), "TK_MISSING");
  EXPECT_EQ(code_of_directory({{"vocab.json", "{}"}}), "TK_MISSING") << "merges.txt is missing";
}

TEST(TokenizerTest, TheFilesBesideTheTokenizerNameTemplateAndEndOfText) {
  const std::string document = to_text(smallest());
  const auto tokenizer = open_directory(
      {{"tokenizer.json", document},
       {"tokenizer_config.json",
        R"({"bos_token":"<s>","eos_token":"ab","add_bos_token":true,"chat_template":[{"name":"other","template":"no"},{"name":"default","template":"yes"}]})"},
       {"generation_config.json", R"({"eos_token_id":[0,2,999]})"}});
  EXPECT_EQ(tokenizer->special().bos, 3);
  EXPECT_EQ(tokenizer->special().eos, 2);
  EXPECT_EQ(tokenizer->special().end_of_text, (std::vector<TokenId>{2, 0}));
  EXPECT_TRUE(tokenizer->special().adds_bos);
  EXPECT_EQ(tokenizer->chat_template(), "yes");
  EXPECT_EQ(tokenizer->encode("b"), (std::vector<TokenId>{3, 1}));
  ASSERT_EQ(tokenizer->notes().size(), 1U) << "999 is not in the vocabulary";
  EXPECT_TRUE(tokenizer->is_special(2)) << "a token with a role is special";

  const auto plain = open_directory({{"tokenizer.json", document},
                                     {"tokenizer_config.json", R"({"chat_template":"old"})"},
                                     {"generation_config.json", R"({"eos_token_id":1})"},
                                     {"chat_template.jinja", "new"}});
  EXPECT_EQ(plain->chat_template(), "new") << "the file of its own goes first";
  EXPECT_EQ(plain->special().end_of_text, (std::vector<TokenId>{1}));
}

TEST(TokenizerTest, VocabAndMergesUseGpt2sPatternAndOptPutsItsEndTokenFirst) {
  const Json model = golden("gpt2")["model"];
  Json vocab = model["vocab"];
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : model["merges"])
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  const Pipeline expected(read_tokenizer_json(to_text(golden("gpt2")), "tokenizer.json"));
  const std::string text = "the dog, it's 1234 </s> there\r\n  and   so on";

  const auto bare = open_directory({{"vocab.json", to_text(vocab)}, {"merges.txt", merges}});
  EXPECT_EQ(bare->encode(text), expected.encode(text, {}));
  EXPECT_FALSE(bare->special().adds_bos);
  const auto opt = open_directory({{"vocab.json", to_text(vocab)},
                                   {"merges.txt", merges},
                                   {"config.json", R"({"model_type":"opt"})"}});
  auto with_end = expected.encode(text, {});
  with_end.insert(with_end.begin(), 2);
  EXPECT_EQ(opt->encode(text), with_end);
  EXPECT_EQ(opt->special().bos, 2);

  EXPECT_EQ(code_of_directory({{"vocab.json", to_text(vocab)}, {"merges.txt", "#version: 0.2\n"}}),
            "TK_MERGES");
  EXPECT_EQ(code_of_directory({{"vocab.json", to_text(vocab)}, {"merges.txt", "nonsense\n"}}),
            "TK_MERGES");
  vocab["again"] = 0;
  EXPECT_EQ(code_of_directory({{"vocab.json", to_text(vocab)}, {"merges.txt", merges}}), "TK_ID");
}

TEST(TokenizerTest, BytesThatAreNoUtf8ComeBackUnchanged) {
  const Pipeline bytes(read_tokenizer_json(to_text(golden("gpt2")), "tokenizer.json"));
  const Pipeline pieces(read_tokenizer_json(to_text(golden("llama2")), "tokenizer.json"));
  Rng rng(5, "bytes");
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (std::uint64_t n = rng.below(40); n > 0; --n) text += static_cast<char>(rng.below(256));
    const EncodeOptions plain{.add_special = false, .parse_special = false};
    EXPECT_EQ(bytes.decode(bytes.encode(text, plain), true), text);
    // The blank that decoding takes away is put there only before text.
    const std::string framed = "x" + text;
    EXPECT_EQ(pieces.decode(pieces.encode(framed, plain), true), framed);
  }
  EXPECT_EQ(bytes.encode("the\xff the", {.add_special = false}).size(), 3U)
      << "words around stay whole";
}

TEST(TokenizerTest, AnyThreadMayEncode) {
  const Pipeline tokenizer(read_tokenizer_json(to_text(golden("llama3")), "tokenizer.json"));
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the dog and 1234 foxes, don't they?\n";
  const auto expected = tokenizer.encode(text, {});
  std::vector<std::vector<TokenId>> results(4);
  std::vector<std::jthread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = tokenizer.encode(text, {}); });
  threads.clear();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(TokenizerTest, EveryTruncatedSentencePieceFileIsRefusedOrWhole) {
  // piece "▁a" with score -1, three of them; trainer: BPE
  std::string file;
  for (const std::string piece : {"<unk>", "a", "\xe2\x96\x81"}) {
    std::string message = "\x0a" + std::string(1, static_cast<char>(piece.size())) + piece;
    message += std::string("\x15\x00\x00\x80\xbf", 5);
    if (piece == "<unk>") message += "\x18\x02";
    file += "\x0a" + std::string(1, static_cast<char>(message.size())) + message;
  }
  const std::string pieces = file;
  file += std::string("\x12\x08\x18\x02\xc0\x02\x00\xc8\x02\x02",
                      10);                     // model_type 2, unk_id 0, bos_id 2
  file += std::string("\x1a\x02\x20\x00", 4);  // remove_extra_whitespaces false
  const Pipeline whole(read_sentencepiece_file(file, "tokenizer.model"));
  EXPECT_EQ(whole.encode("a a", {}), (std::vector<TokenId>{2, 2, 1, 2, 1}));
  for (std::size_t keep = 0; keep < pieces.size(); ++keep) {
    const std::string code =
        code_of([&] { read_sentencepiece_file(file.substr(0, keep), "tokenizer.model"); });
    EXPECT_TRUE(code == "TK_PROTOBUF" || code == "TK_SPECIAL" || code.empty())
        << keep << " " << code;
  }
  EXPECT_EQ(code_of([&] { read_sentencepiece_file("not a model", "tokenizer.model"); }),
            "TK_PROTOBUF");
  EXPECT_EQ(code_of([&] {
              read_sentencepiece_file(pieces + std::string("\x12\x02\x18\x03", 4),
                                      "tokenizer.model");
            }),
            "TK_COMPONENT")
      << "word model";
  EXPECT_EQ(code_of([&] {
              read_sentencepiece_file(pieces + std::string("\x1a\x04\x12\x02xx", 6),
                                      "tokenizer.model");
            }),
            "TK_COMPONENT")
      << "a table of character changes";
}

}  // namespace
}  // namespace tender::text
