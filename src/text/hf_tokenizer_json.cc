#include "text/hf_tokenizer_json.h"

#include <algorithm>
#include <unordered_set>

#include "text/json_fields.h"

namespace tender::text {
namespace {

[[noreturn]] void refuse_id(const std::string& file, std::string_view token, std::string found,
                            std::string why) {
  fail(ErrorKind::corrupt_file,
       {.code = "TK_ID",
        .file = file,
        .item = std::string(token),
        .found = found,
        .expected = fmt::format("ids that differ, from 0 to {}", kMaxVocabulary - 1),
        .hint = "the file is damaged, or was edited by hand"},
       "token {}: id {} {}", quote(token), found, why);
}

void read_vocabulary(const JsonFields& model, Vocabulary& vocabulary) {
  const Json* vocab = model.find("vocab");
  if (vocab == nullptr || !vocab->is_object()) model.refuse("vocab", "an object of token and id");
  if (vocab->size() > kMaxVocabulary) model.refuse("vocab", "at most 2^24 tokens");
  vocabulary.reserve(vocab->size());
  for (const auto& [token, id] : vocab->get_ref<const Json::object_t&>())
    add_checked(vocabulary, checked_id(id, token, model.file()), token, model.file());
}

/// "a b", or ["a", "b"] as tokenizers writes since 0.20.
std::vector<Merge> read_merges(const JsonFields& model, const Vocabulary& vocabulary) {
  const Json& list = model.array("merges");
  if (list.empty()) refuse_merge(model.file(), 0, "an empty list", "has no merges");
  std::vector<Merge> merges;
  merges.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& entry = list[i];
    std::string_view left;
    std::string_view right;
    if (entry.is_string()) {
      const std::string_view text = entry.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
        refuse_merge(model.file(), i, text, "is not two tokens with a space between them");
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      left = entry[0].get_ref<const std::string&>();
      right = entry[1].get_ref<const std::string&>();
    } else {
      refuse_merge(model.file(), i, entry.type_name(), "is neither a string nor a pair of strings");
    }
    const auto merge = make_merge(vocabulary, left, right);
    if (!merge)
      refuse_merge(model.file(), i, fmt::format("{} {}", left, right),
                   "has a part, or a result, that is no token");
    merges.push_back(*merge);
  }
  return merges;
}

void read_added_tokens(const JsonFields& document, TokenizerParts& parts) {
  if (document.find("added_tokens") == nullptr) return;
  std::unordered_set<TokenId> ids;
  std::unordered_set<std::string> contents;
  for (const Json& entry : document.array("added_tokens")) {
    const JsonFields fields(entry, document.file(), "added_tokens");
    AddedToken token;
    token.content = fields.string("content");
    if (fields.find("id") == nullptr) fields.refuse("id", "an integer");
    token.id = checked_id(entry["id"], token.content, document.file());
    token.single_word = fields.boolean("single_word", false);
    token.lstrip = fields.boolean("lstrip", false);
    token.rstrip = fields.boolean("rstrip", false);
    token.special = fields.boolean("special", false);
    token.normalized = fields.boolean("normalized", !token.special);
    const auto in_model = parts.vocabulary->find(token.content);
    const bool id_is_other =
        parts.vocabulary->exists(token.id) && parts.vocabulary->text(token.id) != token.content;
    if (!ids.insert(token.id).second || id_is_other)
      refuse_id(document.file(), token.content, std::to_string(token.id),
                "belongs to another token");
    if (!contents.insert(token.content).second || (in_model && *in_model != token.id))
      refuse_id(document.file(), token.content, std::to_string(token.id),
                "is the second one of this text");
    parts.added.push_back(std::move(token));
  }
}

/// The tokens around `$A` or `{"Sequence": …}` of a TemplateProcessing.
void add_template(const JsonFields& fields, TokenizerParts& parts) {
  std::vector<TokenId> sides[2];
  std::size_t sequences = 0;
  for (const Json& item : fields.array("single")) {
    const JsonFields entry(item, fields.file(), fields.where() + ".single");
    if (entry.find("Sequence") != nullptr) {
      ++sequences;
      continue;
    }
    const std::string name = entry.object("SpecialToken").string("id");
    const JsonFields token = fields.object("special_tokens").object(name);
    for (const Json& id : token.array("ids")) {
      sides[std::min<std::size_t>(sequences, 1)].push_back(checked_id(id, name, fields.file()));
      const TokenId value = sides[std::min<std::size_t>(sequences, 1)].back();
      if (!parts.exists(value)) token.refuse("ids", "ids of the vocabulary");
    }
  }
  if (sequences != 1) fields.unknown_component("template without exactly one sequence");
  parts.prefix.insert(parts.prefix.begin(), sides[0].begin(), sides[0].end());
  parts.suffix.insert(parts.suffix.end(), sides[1].begin(), sides[1].end());
}

/// `[token, id]` of BertProcessing and RobertaProcessing.
TokenId pair_field(const JsonFields& fields, const std::string& name, const TokenizerParts& parts) {
  const Json& pair = fields.array(name);
  if (pair.size() != 2 || !pair[0].is_string()) fields.refuse(name, "a token and its id");
  const TokenId id = checked_id(pair[1], pair[0].get<std::string>(), fields.file());
  if (!parts.exists(id)) fields.refuse(name, "an id of the vocabulary");
  return id;
}

void add_post_processor(const JsonFields& fields, TokenizerParts& parts) {
  const std::string type = fields.type();
  if (type == "ByteLevel") return;  // moves offsets only
  if (type == "TemplateProcessing") return add_template(fields, parts);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    parts.prefix.insert(parts.prefix.begin(), pair_field(fields, "cls", parts));
    parts.suffix.push_back(pair_field(fields, "sep", parts));
    return;
  }
  if (type != "Sequence") fields.unknown_component(type);
  for (const Json& step : fields.array("processors"))
    add_post_processor({step, fields.file(), fields.where()}, parts);
}

BpeOptions bpe_options(const JsonFields& model, const TokenizerParts& parts) {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.find_string(name).value_or("") != "") model.unknown_component(name);
  if (const Json* dropout = model.find("dropout"); dropout != nullptr && *dropout != 0)
    model.unknown_component("dropout");
  BpeOptions options;
  options.raw_bytes = parts.pre_tokenization.byte_level;
  options.ignore_merges = model.boolean("ignore_merges", false);
  options.byte_fallback = model.boolean("byte_fallback", false);
  options.fuse_unknown = model.boolean("fuse_unk", false);
  if (const auto unknown = model.find_string("unk_token")) {
    options.unknown = parts.vocabulary->find(*unknown);
    if (!options.unknown) model.refuse("unk_token", "a token of the vocabulary");
  }
  return options;
}

}  // namespace

TokenId checked_id(const Json& value, std::string_view token, const std::string& file) {
  if (!value.is_number_integer()) refuse_id(file, token, to_text(value), "is no integer");
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() < kMaxVocabulary
                        : value.get<std::int64_t>() >= 0 &&
                              value.get<std::int64_t>() < std::int64_t{kMaxVocabulary};
  if (!fits) refuse_id(file, token, to_text(value), "is out of range");
  return value.get<TokenId>();
}

void add_checked(Vocabulary& vocabulary, TokenId id, std::string_view text,
                 const std::string& file) {
  if (text.size() > kMaxTokenBytes)
    fail(ErrorKind::corrupt_file,
         {.code = "TK_TOKEN",
          .file = file,
          .item = std::to_string(id),
          .found = fmt::format("{} bytes", text.size()),
          .expected = fmt::format("at most {} bytes", kMaxTokenBytes),
          .hint = "the file is damaged"},
         "token {} has {} bytes, more than {}", id, text.size(), kMaxTokenBytes);
  if (!vocabulary.add(id, text))
    refuse_id(file, text.substr(0, 100), std::to_string(id), "belongs to another token");
}

void refuse_merge(const std::string& file, std::size_t index, std::string_view found,
                  std::string_view why) {
  fail(ErrorKind::corrupt_file,
       {.code = "TK_MERGES",
        .file = file,
        .item = std::to_string(index),
        .found = std::string(found.substr(0, 200)),
        .expected = "merges of two tokens each, whose concatenation is a token",
        .hint = "vocabulary and merges do not belong together, or the file is damaged"},
       "merge {}: {} {}", index, quote(found), why);
}

void add_components(const Json& document, const std::string& file, TokenizerParts& parts) {
  const JsonFields fields(document, file, "");
  if (fields.find("normalizer") != nullptr)
    parts.normalizer = make_normalizer(fields.object("normalizer"));
  if (fields.find("pre_tokenizer") != nullptr)
    parts.pre_tokenization = make_pre_tokenizer(fields.object("pre_tokenizer"));
  if (fields.find("post_processor") != nullptr)
    add_post_processor(fields.object("post_processor"), parts);
  if (fields.find("decoder") != nullptr) parts.decoder = Decoder(fields.object("decoder"));
}

TokenizerParts read_tokenizer_json(std::string_view text, const std::string& file) {
  Json document = parse_json(text, file, "TK_JSON");
  const JsonFields fields(document, file, "");
  const JsonFields model = fields.object("model");
  // Files before tokenizers 0.6 do not name the type; BPE is the one with merges.
  const std::string type =
      model.find_string("type").value_or(model.find("merges") != nullptr ? "BPE" : "");
  if (type != "BPE") model.unknown_component(type);

  TokenizerParts parts;
  parts.vocabulary = std::make_unique<Vocabulary>();
  read_vocabulary(model, *parts.vocabulary);
  // Freed as a tree: the destructor of Json would move all ids to a list first.
  document["model"]["vocab"].get_ref<Json::object_t&>().clear();
  read_added_tokens(fields, parts);
  add_components(document, file, parts);
  const BpeOptions options = bpe_options(model, parts);
  parts.model =
      std::make_unique<RankBpe>(*parts.vocabulary, read_merges(model, *parts.vocabulary), options);
  parts.kind = options.raw_bytes       ? "byte-level BPE"
               : options.byte_fallback ? "BPE with byte fallback"
                                       : "BPE";
  return parts;
}

}  // namespace tender::text
