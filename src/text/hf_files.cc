#include "text/hf_files.h"

#include <algorithm>

#include "text/end_of_text.h"
#include "text/hf_tokenizer_json.h"
#include "text/json_fields.h"

namespace tender::text {
namespace {

constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kMap = "special_tokens_map.json";

/// A special token is a string or an object with `content`.
std::optional<AddedToken> token_field(const JsonFields& fields, const std::string& name) {
  const Json* value = fields.find(name);
  if (value == nullptr) return std::nullopt;
  AddedToken token;
  token.special = true;
  if (value->is_string()) {
    token.content = value->get<std::string>();
    return token;
  }
  const JsonFields object = fields.object(name);
  token.content = object.string("content");
  token.lstrip = object.boolean("lstrip", false);
  token.rstrip = object.boolean("rstrip", false);
  token.single_word = object.boolean("single_word", false);
  token.normalized = object.boolean("normalized", false);
  return token;
}

[[noreturn]] void refuse_special(const JsonFields& fields, const std::string& name,
                                 std::string_view token) {
  fail(ErrorKind::corrupt_file,
       {.code = "TK_SPECIAL",
        .file = fields.file(),
        .item = name,
        .found = std::string(token),
        .expected = "a token of the vocabulary",
        .hint = "the tokenizer files do not belong together"},
       "{} is {}, which the vocabulary lacks", name, quote(token));
}

/// Makes the token of a role special and returns its id.
std::optional<TokenId> role(const JsonFields& fields, const std::string& name,
                            TokenizerParts& parts) {
  auto token = token_field(fields, name);
  if (!token || token->content.empty()) return std::nullopt;
  const auto id = parts.find(token->content);
  if (!id) refuse_special(fields, name, token->content);
  token->id = *id;
  parts.add(*std::move(token));
  return id;
}

void add_roles(const JsonFields& fields, TokenizerParts& parts) {
  const auto keep = [&](std::optional<TokenId>& place, const std::string& name) {
    const auto id = role(fields, name, parts);
    if (!place) place = id;
  };
  keep(parts.special.bos, "bos_token");
  keep(parts.special.eos, "eos_token");
  keep(parts.special.unknown, "unk_token");
  keep(parts.special.padding, "pad_token");
  for (const char* name : {"cls_token", "sep_token", "mask_token"}) role(fields, name, parts);
  if (fields.find("additional_special_tokens") == nullptr) return;
  const Json& more = fields.array("additional_special_tokens");
  for (std::size_t i = 0; i < more.size(); ++i) {
    const Json wrapped = {{"token", more[i]}};
    role({wrapped, fields.file(), "additional_special_tokens"}, "token", parts);
  }
}

/// `added_tokens_decoder`: { "id": { "content": …, … } }.
void add_tokens_decoder(const JsonFields& fields, TokenizerParts& parts) {
  if (fields.find("added_tokens_decoder") == nullptr) return;
  const JsonFields list = fields.object("added_tokens_decoder");
  for (const auto& [key, value] : list.json().items()) {
    const Json wrapped = {{"token", value}};
    auto token = *token_field({wrapped, fields.file(), "added_tokens_decoder"}, "token");
    const JsonFields entry(value, fields.file(), "added_tokens_decoder");
    token.special = entry.boolean("special", false);
    const Json id = parse_json(key, fields.file(), "TK_ID");
    token.id = checked_id(id, token.content, fields.file());
    const bool other = parts.exists(token.id) &&
                       parts.vocabulary->text(token.id) != token.content &&
                       parts.find(token.content) != token.id;
    if (other) refuse_special(fields, "added_tokens_decoder." + key, token.content);
    if (!token.content.empty()) parts.add(std::move(token));
  }
}

/// added_tokens.json: { "content": id }.
void add_tokens_file(const ReadFile& read, TokenizerParts& parts) {
  const auto text = read("added_tokens.json");
  if (!text) return;
  const Json document = parse_json(*text, "added_tokens.json", "TK_JSON");
  const JsonFields fields(document, "added_tokens.json", "");
  for (const auto& [content, id] : fields.json().items()) {
    AddedToken token;
    token.content = content;
    token.id = checked_id(id, content, fields.file());
    if (!content.empty()) parts.add(std::move(token));
  }
}

/// A string, or a list of named ones of which "default" is meant.
void add_template(const JsonFields& config, TokenizerParts& parts) {
  const Json* value = config.find("chat_template");
  if (value == nullptr) return;
  if (value->is_string()) {
    parts.chat_template = value->get<std::string>();
    return;
  }
  for (const Json& entry : config.array("chat_template")) {
    const JsonFields named(entry, config.file(), "chat_template");
    if (named.string("name") == "default") parts.chat_template = named.string("template");
  }
}

/// An id or a list of ids that end generation. Files that describe the model, not the tokenizer,
/// may name ids of a padded vocabulary: those are left out.
void add_end_ids(const Json& document, const std::string& file, TokenizerParts& parts) {
  const JsonFields fields(document, file, "");
  const Json* value = fields.find("eos_token_id");
  if (value == nullptr) return;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer()) fields.refuse("eos_token_id", "an id or a list of ids");
    const bool known = id >= 0 && id < kMaxVocabulary && parts.exists(id.get<TokenId>());
    if (known)
      add_end_of_text(id.get<TokenId>(), parts.special);
    else
      parts.notes.push_back(file + ": eos_token_id " + to_text(id) +
                            " is not in the vocabulary and is ignored");
  }
}

/// add_bos_token and add_eos_token count where the tokenizer itself has no rule for them.
void add_borders(const JsonFields& config, TokenizerParts& parts) {
  if (!parts.prefix.empty() || !parts.suffix.empty()) return;
  if (config.boolean("add_bos_token", false) && parts.special.bos)
    parts.prefix = {*parts.special.bos};
  if (config.boolean("add_eos_token", false) && parts.special.eos)
    parts.suffix = {*parts.special.eos};
}

bool is_opt(const Json* config) {
  return config != nullptr && config->is_object() && config->value("model_type", Json()) == "opt";
}

std::vector<Merge> read_merges_text(std::string_view text, const Vocabulary& vocabulary) {
  const std::string file = "merges.txt";
  std::vector<Merge> merges;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view entry = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (entry.ends_with('\r')) entry.remove_suffix(1);
    if (entry.starts_with("#version") || (entry.empty() && text.empty())) continue;
    const std::size_t space = entry.find(' ');
    if (space == std::string_view::npos)
      refuse_merge(file, line, entry, "is not two tokens with a space between them");
    const auto merge = make_merge(vocabulary, entry.substr(0, space), entry.substr(space + 1));
    if (!merge) refuse_merge(file, line, entry, "has a part, or a result, that is no token");
    merges.push_back(*merge);
  }
  if (merges.empty()) refuse_merge(file, 0, "an empty list", "has no merges");
  return merges;
}

/// Tokens in angle brackets that no merge makes: the special ones, for want of a file that names
/// them.
void add_unmade_tokens(const std::vector<Merge>& merges, TokenizerParts& parts) {
  const Vocabulary& vocabulary = *parts.vocabulary;
  std::vector<bool> made(vocabulary.size());
  for (const Merge& merge : merges) made[static_cast<std::size_t>(merge.merged)] = true;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(static_cast<TokenId>(id));
    if (made[id] || text.size() < 3 || !text.starts_with('<') || !text.ends_with('>')) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = text;
    token.special = true;
    parts.added.push_back(std::move(token));
  }
}

}  // namespace

void add_hf_files(const ReadFile& read, const Json* config, bool adds_tokens,
                  TokenizerParts& parts) {
  if (adds_tokens) add_tokens_file(read, parts);
  if (const auto text = read(kConfig)) {
    const Json document = parse_json(*text, kConfig, "TK_JSON");
    const JsonFields fields(document, kConfig, "");
    if (adds_tokens) add_tokens_decoder(fields, parts);
    add_roles(fields, parts);
    add_template(fields, parts);
    add_borders(fields, parts);
  }
  if (const auto text = read(kMap)) {
    const Json document = parse_json(*text, kMap, "TK_JSON");
    add_roles({document, kMap, ""}, parts);
  }
  if (auto text = read("chat_template.jinja")) parts.chat_template = *std::move(text);

  if (!parts.special.bos && parts.prefix.size() == 1) parts.special.bos = parts.prefix.front();
  if (parts.special.eos) add_end_of_text(*parts.special.eos, parts.special);
  const auto generation = read("generation_config.json");
  if (generation) {
    const Json document = parse_json(*generation, "generation_config.json", "TK_JSON");
    add_end_ids(document, "generation_config.json", parts);
  } else if (parts.special.end_of_text.empty() && config != nullptr) {
    add_end_ids(*config, "config.json", parts);
  }
  if (!generation)
    for (const AddedToken& token : parts.added)
      if (token.special && ends_text_by_name(token.content))
        add_end_of_text(token.id, parts.special);
}

TokenizerParts read_vocab_and_merges(std::string_view vocab, std::string_view merges_text,
                                     const ReadFile& read, const Json* config) {
  TokenizerParts parts;
  parts.kind = "byte-level BPE";
  parts.vocabulary = std::make_unique<Vocabulary>();
  const Json document = parse_json(vocab, "vocab.json", "TK_JSON");
  const JsonFields fields(document, "vocab.json", "");
  if (document.size() > kMaxVocabulary) fields.refuse("", "at most 2^24 tokens");
  parts.vocabulary->reserve(document.size());
  for (const auto& [token, id] : document.items())
    add_checked(*parts.vocabulary, checked_id(id, token, "vocab.json"), token, "vocab.json");
  const std::vector<Merge> merges = read_merges_text(merges_text, *parts.vocabulary);

  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  add_components({{"pre_tokenizer", byte_level}, {"decoder", byte_level}}, "vocab.json", parts);
  BpeOptions options;
  options.raw_bytes = true;
  parts.model = std::make_unique<RankBpe>(*parts.vocabulary, merges, options);
  if (!read(kConfig) && !read(kMap)) add_unmade_tokens(merges, parts);
  add_hf_files(read, config, true, parts);
  const auto end = parts.vocabulary->find("</s>");
  if (is_opt(config) && end) {
    parts.prefix = {*end};
    parts.special.bos = parts.special.bos.value_or(*end);
    parts.special.eos = parts.special.eos.value_or(*end);
    add_end_of_text(*parts.special.eos, parts.special);
  }
  return parts;
}

}  // namespace tender::text
