#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/end_of_text.h"
#include "text/hf_tokenizer_json.h"
#include "text/pre_families.h"
#include "text/sentencepiece_file.h"

namespace tender::text {
namespace {

using io::GgufMetadata;
using io::GgufValue;

constexpr const char* kHint = "the file is damaged, or was written by a broken converter";

template <class... Args>
[[noreturn]] void refuse(const GgufMetadata& metadata, std::string code, std::string item,
                         fmt::format_string<Args...> format, Args&&... args) {
  const std::string sentence = fmt::format(format, std::forward<Args>(args)...);
  fail(ErrorKind::corrupt_file,
       {.code = std::move(code),
        .file = metadata.file(),
        .item = std::move(item),
        .found = sentence,
        .hint = kHint},
       "{}", sentence);
}

/// The value of a key if it is an array of one of these types; null where the key is missing.
const GgufValue* array_of(const GgufMetadata& metadata, const std::string& key,
                          std::initializer_list<GgufValue::Type> elements) {
  const auto found = metadata.all().find(key);
  if (found == metadata.all().end()) return nullptr;
  const GgufValue& value = found->second;
  const bool fits = value.type == GgufValue::Type::array &&
                    std::find(elements.begin(), elements.end(), value.element) != elements.end();
  if (!fits) refuse(metadata, "GG_VOCAB", key, "{} is not an array of the right type", key);
  return &value;
}

std::vector<std::string> strings_of(const GgufMetadata& metadata, const std::string& key) {
  const GgufValue* value = array_of(metadata, key, {GgufValue::Type::string});
  return value == nullptr ? std::vector<std::string>()
                          : std::get<std::vector<std::string>>(value->value);
}

void check_length(const GgufMetadata& metadata, const std::string& key, std::size_t found,
                  std::size_t tokens) {
  if (found != tokens)
    refuse(metadata, "GG_VOCAB", key, "{} has {} entries for {} tokens", key, found, tokens);
}

std::vector<float> read_scores(const GgufMetadata& metadata, std::size_t tokens) {
  const std::string key = "tokenizer.ggml.scores";
  const GgufValue* value = array_of(metadata, key, {GgufValue::Type::f32});
  if (value == nullptr) return {};
  const auto& numbers = std::get<std::vector<double>>(value->value);
  check_length(metadata, key, numbers.size(), tokens);
  std::vector<float> scores(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    scores[i] = static_cast<float>(numbers[i]);
    if (!std::isfinite(scores[i]))
      refuse(metadata, "GG_VOCAB", key, "the score of token {} is not finite", i);
  }
  return scores;
}

std::vector<PieceType> read_types(const GgufMetadata& metadata, std::size_t tokens) {
  const std::string key = "tokenizer.ggml.token_type";
  const GgufValue* value = array_of(metadata, key, {GgufValue::Type::i32, GgufValue::Type::u32});
  if (value == nullptr) return std::vector<PieceType>(tokens, PieceType::normal);
  const auto& numbers = std::get<std::vector<std::int64_t>>(value->value);
  check_length(metadata, key, numbers.size(), tokens);
  std::vector<PieceType> types(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] < 1 || numbers[i] > 6)
      refuse(metadata, "GG_VOCAB", key, "the type of token {} is {}, expected 1 to 6", i,
             numbers[i]);
    types[i] = static_cast<PieceType>(numbers[i]);
  }
  return types;
}

void check_token(const GgufMetadata& metadata, const GgufVocabulary& vocabulary, std::size_t id) {
  const std::string& text = vocabulary.tokens[id];
  const PieceType type = vocabulary.types[id];
  const std::string key = "tokenizer.ggml.tokens";
  if (text.empty() && type != PieceType::unused)
    refuse(metadata, "GG_TOKEN", key, "token {} is empty", id);
  if (text.size() > kMaxTokenBytes)
    refuse(metadata, "GG_TOKEN", key, "token {} has {} bytes, more than {}", id, text.size(),
           kMaxTokenBytes);
  if (type == PieceType::byte && !vocabulary.byte_level && !byte_token_value(text))
    refuse(metadata, "GG_BYTE_TOKEN", key, "byte token {} is {}, expected <0x00> to <0xFF>", id,
           quote(text));
  if (type != PieceType::byte && !vocabulary.byte_level && first_invalid_utf8(text))
    refuse(metadata, "GG_TOKEN_UTF8", key, "token {} ({}) is not UTF-8", id, quote(text));
}

[[noreturn]] void refuse_model(const GgufMetadata& metadata, const std::string& model) {
  fail(ErrorKind::unsupported,
       {.code = "TK_COMPONENT",
        .file = metadata.file(),
        .item = "tokenizer.ggml.model",
        .found = model,
        .expected = "gpt2 or llama",
        .hint = "this build cannot run the model's tokenizer"},
       "the tokenizer model {} is not supported; this build has gpt2 and llama", quote(model));
}

std::vector<Merge> resolve_merges(const GgufMetadata& metadata, const GgufVocabulary& source,
                                  const Vocabulary& vocabulary) {
  std::vector<Merge> merges;
  merges.reserve(source.merges.size());
  for (std::size_t i = 0; i < source.merges.size(); ++i) {
    const auto [left, right] = split_merge(metadata, i, source.merges[i]);
    const auto merge = make_merge(vocabulary, left, right);
    if (!merge)
      refuse(metadata, "GG_MERGE", "tokenizer.ggml.merges",
             "merge {} ({}) has a part, or a result, that is no token", i, quote(source.merges[i]));
    merges.push_back(*merge);
  }
  return merges;
}

Json template_of(const std::optional<TokenId>& bos, const std::optional<TokenId>& eos,
                 const GgufVocabulary& v) {
  Json single = Json::array();
  Json tokens = Json::object();
  const auto put = [&](TokenId id) {
    const std::string& text = v.tokens[static_cast<std::size_t>(id)];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    tokens[text] = {{"id", text}, {"ids", Json::array({id})}, {"tokens", Json::array({text})}};
  };
  if (bos) put(*bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (eos) put(*eos);
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

SentencePieceRules rules_of(const GgufMetadata& metadata) {
  SentencePieceRules rules;
  rules.add_dummy_prefix = metadata.find_boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  rules.remove_extra_whitespaces =
      metadata.find_boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
  return rules;
}

const std::string* find_pre(const GgufMetadata& metadata) {
  return metadata.find_string("tokenizer.ggml.pre");
}

std::unique_ptr<WordModel> make_model(const GgufMetadata& metadata, const GgufVocabulary& source,
                                      const Vocabulary& vocabulary, const Json& components,
                                      const std::optional<TokenId>& unknown) {
  if (!source.byte_level)
    return std::make_unique<ScoreBpe>(vocabulary, source.scores, source.types, unknown);
  BpeOptions options;
  options.raw_bytes = true;
  options.ignore_merges = components.at("ignore_merges").get<bool>();
  return std::make_unique<RankBpe>(vocabulary, resolve_merges(metadata, source, vocabulary),
                                   options);
}

/// A complete tokenizer.json inside of the metadata.
TokenizerParts read_embedded(const GgufMetadata& metadata, const std::string& document) {
  TokenizerParts parts =
      read_tokenizer_json(document, metadata.file() + " (tokenizer.huggingface.json)");
  const auto special = [&](const char* name) -> std::optional<TokenId> {
    const auto id = metadata.find_integer(fmt::format("tokenizer.ggml.{}_token_id", name),
                                          INT64_MIN, INT64_MAX);
    if (!id) return std::nullopt;
    if (*id < 0 || *id >= std::int64_t{kMaxVocabulary} || !parts.exists(static_cast<TokenId>(*id)))
      refuse(metadata, "GG_SPECIAL_ID", name, "the {} token has id {}, which does not exist", name,
             *id);
    return static_cast<TokenId>(*id);
  };
  parts.special.bos = special("bos");
  parts.special.eos = special("eos");
  parts.special.unknown = special("unknown");
  parts.special.padding = special("padding");
  for (const char* name : {"eos", "eot", "eom"})
    if (const auto id = special(name)) add_end_of_text(*id, parts.special);
  parts.chat_template = gguf_chat_template(metadata);
  return parts;
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufMetadata& metadata) {
  const std::string* model = metadata.find_string("tokenizer.ggml.model");
  if (model == nullptr || *model == "no_vocab")
    fail(ErrorKind::not_found,
         {.code = "TK_MISSING",
          .file = metadata.file(),
          .item = "tokenizer.ggml.model",
          .hint = "text needs a tokenizer; token ids can be given where a command takes them"},
         "the file has no tokenizer");
  if (*model != "gpt2" && *model != "llama") refuse_model(metadata, *model);

  GgufVocabulary out;
  out.byte_level = *model == "gpt2";
  const std::string key = "tokenizer.ggml.tokens";
  if (!metadata.has(key)) refuse(metadata, "GG_KEY_MISSING", key, "{} is missing", key);
  out.tokens = strings_of(metadata, key);
  if (out.tokens.empty() || out.tokens.size() > kMaxVocabulary)
    refuse(metadata, "GG_VOCAB", key, "{} tokens, expected 1 to {}", out.tokens.size(),
           kMaxVocabulary);
  out.scores = read_scores(metadata, out.tokens.size());
  out.types = read_types(metadata, out.tokens.size());
  out.merges = strings_of(metadata, "tokenizer.ggml.merges");
  for (std::size_t id = 0; id < out.tokens.size(); ++id) check_token(metadata, out, id);
  const char* needed = out.byte_level ? "tokenizer.ggml.merges" : "tokenizer.ggml.scores";
  if (out.byte_level ? out.merges.empty() : out.scores.empty())
    refuse(metadata, metadata.has(needed) ? "GG_VOCAB" : "GG_KEY_MISSING", needed,
           "{} is missing or empty", needed);
  return out;
}

std::pair<std::string_view, std::string_view> split_merge(const GgufMetadata& metadata,
                                                          std::size_t index,
                                                          std::string_view merge) {
  const std::size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size())
    refuse(metadata, "GG_MERGE", "tokenizer.ggml.merges",
           "merge {} ({}) is not two tokens with a space between them", index, quote(merge));
  return {merge.substr(0, space), merge.substr(space + 1)};
}

SpecialTokens gguf_special_tokens(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  const auto id_of = [&](const std::string& name) -> std::optional<TokenId> {
    const std::string key = "tokenizer.ggml." + name + "_token_id";
    const auto id = metadata.find_integer(key, INT64_MIN, INT64_MAX);
    if (!id) return std::nullopt;
    if (*id < 0 || static_cast<std::uint64_t>(*id) >= vocabulary.tokens.size())
      refuse(metadata, "GG_SPECIAL_ID", key, "{} is {}, beyond the {} tokens", key, *id,
             vocabulary.tokens.size());
    return static_cast<TokenId>(*id);
  };
  SpecialTokens special;
  special.bos = id_of("bos");
  special.eos = id_of("eos");
  special.unknown = id_of("unknown");
  special.padding = id_of("padding");
  for (const char* name : {"eos", "eot", "eom"})
    if (const auto id = id_of(name)) add_end_of_text(*id, special);
  for (const char* name : {"seperator", "cls", "mask"})
    static_cast<void>(id_of(name));  // checked only
  if (!metadata.has("tokenizer.ggml.eot_token_id"))
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
      if (vocabulary.types[id] == PieceType::control && ends_text_by_name(vocabulary.tokens[id]))
        add_end_of_text(static_cast<TokenId>(id), special);
  return special;
}

std::string gguf_chat_template(const GgufMetadata& metadata) {
  const std::string* text = metadata.find_string("tokenizer.chat_template");
  return text == nullptr ? std::string() : *text;
}

std::vector<AddedToken> gguf_added_tokens(const GgufVocabulary& vocabulary,
                                          const SpecialTokens& special_tokens) {
  std::vector<AddedToken> added;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const PieceType type = vocabulary.types[id];
    const auto token_id = static_cast<TokenId>(id);
    const bool special = type == PieceType::control || type == PieceType::unknown ||
                         token_id == special_tokens.bos || token_id == special_tokens.eos;
    if (vocabulary.tokens[id].empty()) continue;
    if (!special && type != PieceType::user_defined) continue;
    AddedToken token;
    token.id = token_id;
    token.content = vocabulary.tokens[id];
    token.special = special;
    added.push_back(std::move(token));
  }
  return added;
}

Json gguf_components(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  const SpecialTokens special = gguf_special_tokens(metadata, vocabulary);
  Json out = Json::object();
  bool adds_bos = !vocabulary.byte_level;
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = nullptr;
  out["ignore_merges"] = false;
  if (vocabulary.byte_level) {
    const std::string* pre = find_pre(metadata);
    const PreFamily family = pre_family(pre == nullptr ? "default" : *pre, metadata.file());
    adds_bos = family.adds_bos;
    out["normalizer"] = family.normalizer;
    out["pre_tokenizer"] = family.pre_tokenizer;
    out["ignore_merges"] = family.ignore_merges;
    out["decoder"] = {{"type", "ByteLevel"},
                      {"add_prefix_space", true},
                      {"trim_offsets", true},
                      {"use_regex", true}};
  } else {
    out.update(sentencepiece_components(rules_of(metadata)));
  }
  const bool bos =
      metadata.find_boolean("tokenizer.ggml.add_bos_token").value_or(adds_bos) && special.bos;
  const bool eos =
      metadata.find_boolean("tokenizer.ggml.add_eos_token").value_or(false) && special.eos;
  out["post_processor"] = nullptr;
  if (bos || eos)
    out["post_processor"] =
        template_of(bos ? special.bos : std::nullopt, eos ? special.eos : std::nullopt, vocabulary);
  return out;
}

TokenizerParts read_gguf_tokenizer(const GgufMetadata& metadata) {
  if (const std::string* document = metadata.find_string("tokenizer.huggingface.json"))
    return read_embedded(metadata, *document);
  const GgufVocabulary source = read_gguf_vocabulary(metadata);
  TokenizerParts parts;
  parts.kind = source.byte_level ? "byte-level BPE" : "SentencePiece BPE";
  parts.special = gguf_special_tokens(metadata, source);
  parts.vocabulary = std::make_unique<Vocabulary>();
  parts.vocabulary->reserve(source.tokens.size());
  for (std::size_t id = 0; id < source.tokens.size(); ++id)
    parts.vocabulary->add(static_cast<TokenId>(id), source.tokens[id]);
  parts.added = gguf_added_tokens(source, parts.special);
  const Json components = gguf_components(metadata, source);
  add_components(components, metadata.file(), parts);
  parts.model = make_model(metadata, source, *parts.vocabulary, components, parts.special.unknown);
  parts.chat_template = gguf_chat_template(metadata);
  if (source.byte_level && find_pre(metadata) == nullptr)
    parts.notes.push_back(
        "the file does not name its pre-tokenizer (tokenizer.ggml.pre); a general rule is used, "
        "and the tokens may "
        "differ from those the model was trained on");
  return parts;
}

}  // namespace tender::text
