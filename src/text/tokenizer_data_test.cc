#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/json.h"
#include "io/checkpoint.h"
#include "tests/support/test_support.h"
#include "text/tokenizer.h"

namespace tender::text {
namespace {

using testing::read_text;

std::unique_ptr<Tokenizer> open(const std::filesystem::path& path) {
  return open_tokenizer(*io::open_checkpoint(path, io::Need::tokenizer));
}

/// A directory with some of the files of another.
void copy_into(const testing::TemporaryFolder& folder, const std::filesystem::path& from,
               std::initializer_list<const char*> names) {
  for (const char* name : names) std::filesystem::copy_file(from / name, folder / name);
}

std::vector<std::string> cases_of(const std::filesystem::path& path) {
  const std::string mark = "\n__ggml_vocab_test__\n";
  const std::string text = read_text(path);
  std::vector<std::string> cases;
  std::size_t begin = 0;
  for (std::size_t end = text.find(mark); end != std::string::npos; end = text.find(mark, begin)) {
    cases.push_back(text.substr(begin, end - begin));
    begin = end + mark.size();
  }
  if (begin < text.size()) cases.push_back(text.substr(begin));
  return cases;
}

std::vector<std::vector<TokenId>> lines_of_ids(const std::filesystem::path& path) {
  std::istringstream lines(read_text(path));
  std::vector<std::vector<TokenId>> out;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    out.emplace_back(std::istream_iterator<TokenId>(numbers), std::istream_iterator<TokenId>());
  }
  return out;
}

/// Every case of a pair of .inp and .out files has these ids, and they give the text back.
void expect_cases(const Tokenizer& tokenizer, const std::filesystem::path& inputs,
                  const std::filesystem::path& outputs) {
  const auto cases = cases_of(inputs);
  const auto ids = lines_of_ids(outputs);
  ASSERT_GT(cases.size(), 10U);
  ASSERT_EQ(cases.size(), ids.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(cases[i], {.add_special = false}), ids[i]) << i << ": " << cases[i];
    EXPECT_EQ(tokenizer.decode(ids[i]), cases[i]) << i;
  }
}

TEST(TokenizerDataTest, Gpt2GgufGivesTheIdsOfItsVectors) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/ggml_vocab");
  const auto tokenizer = open(data / "ggml-vocab-gpt-2.gguf");
  EXPECT_EQ(tokenizer->kind(), "byte-level BPE");
  EXPECT_EQ(tokenizer->vocabulary(), 50257U);
  expect_cases(*tokenizer, data / "ggml-vocab-gpt-2.gguf.inp", data / "ggml-vocab-gpt-2.gguf.out");
}

TEST(TokenizerDataTest, LlamaGgufGivesTheIdsOfItsVectors) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/ggml_vocab");
  const auto tokenizer = open(data / "ggml-vocab-llama-spm.gguf");
  EXPECT_EQ(tokenizer->kind(), "SentencePiece BPE");
  expect_cases(*tokenizer, data / "llama-spm.even.inp", data / "llama-spm.even.out");
}

TEST(TokenizerDataTest, OptFilesGiveTheIdsOfTheirVectors) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/opt");
  const testing::TemporaryFolder folder;
  copy_into(folder, data, {"vocab.json", "merges.txt"});
  testing::write_text(folder / "config.json", R"({"model_type":"opt"})");
  const auto tokenizer = open(folder.path());
  expect_cases(*tokenizer, data / "roberta-bpe.even.inp", data / "roberta-bpe.even.out");
  EXPECT_EQ(tokenizer->encode("").front(), 2) << "</s> comes first";
  EXPECT_EQ(tokenizer->special().bos, 2);
}

TEST(TokenizerDataTest, Llama2FileGivesTheIdsOfItsVectors) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/llama2");
  const testing::TemporaryFolder folder;
  copy_into(folder, data, {"tokenizer.model"});
  const auto tokenizer = open(folder.path());
  const Json cases = Json::parse(read_text(data / "llama2c_expected_ids.json"));
  ASSERT_EQ(cases.size(), 5U);
  for (const Json& entry : cases)
    EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>()),
              entry["ids"].get<std::vector<TokenId>>());
}

TEST(TokenizerDataTest, TinyFilesGiveTheIdsAndTextsOfTheirVectors) {
  TENDER_DATA_OR_SKIP(data, "golden/tiny_hf_tokenizers");
  const Json groups = Json::parse(read_text(data / "hf_tokenizer_cases.subset.json"));
  ASSERT_EQ(groups.size(), 4U);
  for (const auto& [name, group] : groups.items()) {
    const testing::TemporaryFolder folder;
    const std::string file = group["tokenizer"];
    std::filesystem::copy_file(
        data / file, folder / (file.ends_with(".model") ? "tokenizer.model" : "tokenizer.json"));
    const auto tokenizer = open(folder.path());
    ASSERT_GT(group["cases"].size(), 5U);
    for (const Json& entry : group["cases"]) {
      const auto text = entry["text"].get<std::string>();
      const auto ids = entry["ids"].get<std::vector<TokenId>>();
      EXPECT_EQ(tokenizer->encode(text, {.add_special = false}), ids) << name << ": " << text;
      // SentencePiece shows the unknown token as a sign of its own; the reference of texts is the
      // HF library.
      if (entry["decoded"].get<std::string>().find("\xe2\x81\x87") != std::string::npos) continue;
      EXPECT_EQ(tokenizer->decode(ids, false), entry["decoded"].get<std::string>())
          << name << ": " << text;
    }
  }
}

/// SmolLM2's tokenizer.json out of its vocabulary and merges: the pair of files does not say that
/// digits are cut one by one.
void write_smollm(const testing::TemporaryFolder& folder) {
  const auto data = *testing::data_path("tokenizers/smollm");
  const Json vocab = Json::parse(read_text(data / "vocab.json"));
  Json merges = Json::array();
  std::istringstream lines(read_text(data / "merges.txt"));
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("#version")) merges.push_back(line);
  Json added = Json::array();
  for (const auto& [token, id] : vocab.items())
    if (id < 17)
      added.push_back({{"id", id}, {"content", token}, {"special", true}, {"normalized", false}});
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const Json document = {
      {"added_tokens", added},
      {"pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", Json::array({digits, byte_level})}}},
      {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
  testing::write_text(folder / "tokenizer.json", to_text(document));
}

/// Rows with their newline, blank ones emptied, joined by two newlines (evaluation 5.1).
std::string joined(const std::string& raw) {
  std::string out;
  bool first = true;
  for (std::size_t begin = 0; begin < raw.size(); first = false) {
    const std::size_t end = std::min(raw.find('\n', begin), raw.size() - 1) + 1;
    const std::string row = raw.substr(begin, end - begin);
    if (!first) out += "\n\n";
    if (row.find_first_not_of(" \n") != std::string::npos) out += row;
    begin = end;
  }
  return out;
}

struct Anchor {
  std::size_t joined;
  std::size_t raw;
  std::size_t raw_without_end;
};

void expect_anchor(const Tokenizer& tokenizer, const Anchor& anchor) {
  const std::string raw = read_text(*testing::data_path("wikitext2/wiki.test.raw"));
  const EncodeOptions plain{.add_special = false};
  EXPECT_EQ(joined(raw).size(), 1'296'370U);
  EXPECT_EQ(tokenizer.encode(joined(raw), plain).size(), anchor.joined);
  EXPECT_EQ(tokenizer.encode(raw, plain).size(), anchor.raw);
  EXPECT_EQ(tokenizer.encode(std::string_view(raw).substr(0, raw.size() - 1), plain).size(),
            anchor.raw_without_end);
}

std::vector<TokenId> first_ids(const Tokenizer& tokenizer, const std::string& text,
                               std::size_t count) {
  std::vector<TokenId> ids = tokenizer.encode(text, {.add_special = false});
  ids.resize(count);
  return ids;
}

TEST(TokenizerDataTest, WikiText2HasTheKnownNumberOfGpt2AndOptTokens) {
  TENDER_DATA_OR_SKIP(data, "wikitext2/wiki.test.raw");
  const std::string raw = read_text(data);
  expect_anchor(*open(*testing::data_path("tokenizers/gpt2")), {287'644, 286'221, 286'220});
  const testing::TemporaryFolder folder;
  copy_into(folder, *testing::data_path("tokenizers/opt"), {"vocab.json", "merges.txt"});
  testing::write_text(folder / "config.json", R"({"model_type":"opt"})");
  const auto opt = open(folder.path());
  EXPECT_EQ(opt->encode(joined(raw)).size(), 287'645U);
  EXPECT_EQ(first_ids(*opt, joined(raw), 3), (std::vector<TokenId>{50140, 5457, 1738}));
}

TEST(TokenizerDataTest, WikiText2HasTheKnownNumberOfLlama2Tokens) {
  TENDER_DATA_OR_SKIP(data, "wikitext2/wiki.test.raw");
  const std::string raw = read_text(data);
  const auto gguf = open(*testing::data_path("tokenizers/ggml_vocab/ggml-vocab-llama-spm.gguf"));
  expect_anchor(*gguf, {341'468, 335'687, 335'686});
  const testing::TemporaryFolder folder;
  copy_into(folder, *testing::data_path("tokenizers/llama2"), {"tokenizer.model"});
  const auto file = open(folder.path());
  EXPECT_EQ(file->encode(joined(raw)).size(), 341'469U);
  EXPECT_EQ(file->encode(raw), gguf->encode(raw));
  EXPECT_EQ(first_ids(*file, joined(raw), 4), (std::vector<TokenId>{29871, 13, 13, 353}));
  EXPECT_EQ(first_ids(*file, raw, 3), (std::vector<TokenId>{259, 13, 353}));
}

TEST(TokenizerDataTest, WikiText2HasTheKnownNumberOfSmolLm2Tokens) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/smollm");
  const testing::TemporaryFolder folder;
  write_smollm(folder);
  expect_anchor(*open(folder.path()), {304'978, 303'415, 303'415});
}

/// Little-endian bytes of int32, which the golden file hashes.
std::string hash_of(const std::vector<TokenId>& ids) {
  std::string bytes;
  for (const TokenId id : ids)
    for (unsigned shift = 0; shift < 32; shift += 8)
      bytes += static_cast<char>(static_cast<std::uint32_t>(id) >> shift);
  return sha256_hex(bytes);
}

/// Two megabytes of English, code, many languages and odd characters, and what
/// oracle/make_tokenizer_golden.py says of their ids. Nothing if the shared data is absent.
struct MixedText {
  std::string text;
  Json golden;
};
std::optional<MixedText> mixed_text() {
  MixedText out;
  out.golden = Json::parse(read_text(testing::source_path("src/text/golden/mixed_text_ids.json")));
  for (const Json& name : out.golden["texts"]) {
    const auto path = testing::data_path(name.get<std::string>());
    if (!path) return std::nullopt;
    out.text += read_text(*path);
  }
  out.text += out.golden["odd"].get<std::string>();
  return out;
}

void expect_golden(const Tokenizer& tokenizer, const MixedText& mixed, const std::string& name) {
  ASSERT_EQ(sha256_hex(mixed.text), mixed.golden["text_sha256"]);
  const auto ids = tokenizer.encode(mixed.text, {.add_special = false});
  EXPECT_EQ(ids.size(), mixed.golden["ids"][name]["count"]) << name;
  EXPECT_EQ(hash_of(ids), mixed.golden["ids"][name]["sha256"]) << name;
}

/// The tokenizer of a directory that holds the rebuilt files of a model.
std::unique_ptr<Tokenizer> rebuilt(const std::filesystem::path& model) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, content] :
       tokenizer_files(*io::open_checkpoint(model, io::Need::tokenizer)))
    testing::write_text(folder / name, content);
  return open(folder.path());
}

TEST(TokenizerDataTest, MixedTextHasTheIdsOfTheReference) {
  TENDER_DATA_OR_SKIP(data, "tokenizers");
  const auto mixed = mixed_text();
  if (!mixed) GTEST_SKIP() << "needs the texts of the shared data (TENDER_DATA)";
  EXPECT_GT(mixed->text.size(), 1'000'000U);
  expect_golden(*open(data / "gpt2"), *mixed, "gpt2");
  expect_golden(*open(data / "opt"), *mixed, "opt");
  expect_golden(*open(data / "llama2"), *mixed, "llama2");
  expect_golden(*open(data / "ggml_vocab/ggml-vocab-gpt-2.gguf"), *mixed, "gpt2");
  expect_golden(*open(data / "ggml_vocab/ggml-vocab-llama-spm.gguf"), *mixed, "llama2");
  const testing::TemporaryFolder folder;
  write_smollm(folder);
  expect_golden(*open(folder.path()), *mixed, "smollm");
}

TEST(TokenizerDataTest, FilesRebuiltFromGgufGiveTheSameIds) {
  TENDER_DATA_OR_SKIP(data, "tokenizers/ggml_vocab");
  const auto mixed = mixed_text();
  if (!mixed) GTEST_SKIP() << "needs the texts of the shared data (TENDER_DATA)";
  for (const auto& [file, name] :
       {std::pair("ggml-vocab-gpt-2.gguf", "gpt2"), {"ggml-vocab-llama-spm.gguf", "llama2"}}) {
    const auto source = open(data / file);
    const auto copy = rebuilt(data / file);
    expect_golden(*copy, *mixed, name);
    EXPECT_EQ(copy->encode("a <s> b"), source->encode("a <s> b"));
    EXPECT_EQ(copy->special().bos, source->special().bos);
    EXPECT_EQ(copy->special().end_of_text, source->special().end_of_text);
    EXPECT_EQ(copy->special().adds_bos, source->special().adds_bos);
    EXPECT_EQ(copy->vocabulary(), source->vocabulary());
  }
}

}  // namespace
}  // namespace tender::text
