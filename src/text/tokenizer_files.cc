#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/utf8.h"
#include "io/checkpoint.h"
#include "text/gguf_vocabulary.h"
#include "text/tokenizer.h"

namespace tender::text {
namespace {

using Files = std::map<std::string, std::string>;
using MergeTexts = std::vector<std::pair<std::string_view, std::string_view>>;

constexpr std::array kCopied = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
};

/// The rules that give SentencePiece's order of merging by rank: for every piece, its halves that
/// are pieces, best score first.
MergeTexts merges_by_score(const GgufVocabulary& source) {
  Vocabulary pieces;
  std::vector<std::size_t> order;
  for (std::size_t id = 0; id < source.tokens.size(); ++id) {
    if (source.types[id] != PieceType::normal && source.types[id] != PieceType::user_defined)
      continue;
    pieces.add(static_cast<TokenId>(id), source.tokens[id]);
    order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return source.scores[a] > source.scores[b];
  });
  MergeTexts merges;
  for (const std::size_t id : order) {
    const std::string_view text = source.tokens[id];
    // Longer left halves first, as converters of the transformers library write them.
    for (std::size_t cut = text.size() - 1; cut > 0; --cut)
      if (pieces.find(text.substr(0, cut)) && pieces.find(text.substr(cut)))
        merges.emplace_back(text.substr(0, cut), text.substr(cut));
  }
  return merges;
}

MergeTexts merges_by_rank(const io::GgufMetadata& metadata, const GgufVocabulary& source) {
  MergeTexts merges;
  merges.reserve(source.merges.size());
  for (std::size_t i = 0; i < source.merges.size(); ++i)
    merges.push_back(split_merge(metadata, i, source.merges[i]));
  return merges;
}

/// "a b" where that is unambiguous, which every version of the library reads; pairs otherwise.
Json merges_json(const MergeTexts& merges) {
  const bool spaced = std::any_of(merges.begin(), merges.end(), [](const auto& merge) {
    return merge.first.find(' ') != std::string_view::npos ||
           merge.second.find(' ') != std::string_view::npos;
  });
  Json out = Json::array();
  for (const auto& [left, right] : merges) {
    if (spaced)
      out.push_back(Json::array({std::string(left), std::string(right)}));
    else
      out.push_back(std::string(left).append(" ").append(right));
  }
  return out;
}

Json model_json(const io::GgufMetadata& metadata, const GgufVocabulary& source,
                const SpecialTokens& special, bool ignore_merges) {
  Json vocab = Json::object();
  for (std::size_t id = 0; id < source.tokens.size(); ++id)
    if (!source.tokens[id].empty() && !vocab.contains(source.tokens[id]))
      vocab[source.tokens[id]] = id;
  const bool has_bytes =
      std::find(source.types.begin(), source.types.end(), PieceType::byte) != source.types.end();
  Json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", !source.byte_level},
                {"byte_fallback", !source.byte_level && has_bytes},
                {"ignore_merges", ignore_merges}};
  if (!source.byte_level && special.unknown)
    model["unk_token"] = source.tokens[static_cast<std::size_t>(*special.unknown)];
  model["vocab"] = std::move(vocab);
  model["merges"] =
      merges_json(source.byte_level ? merges_by_rank(metadata, source) : merges_by_score(source));
  return model;
}

Json added_json(const GgufVocabulary& source, const SpecialTokens& special) {
  Json out = Json::array();
  for (const AddedToken& token : gguf_added_tokens(source, special))
    out.push_back({{"id", token.id},
                   {"content", token.content},
                   {"single_word", token.single_word},
                   {"lstrip", token.lstrip},
                   {"rstrip", token.rstrip},
                   {"normalized", token.normalized},
                   {"special", token.special}});
  return out;
}

Json config_json(const io::GgufMetadata& metadata, const GgufVocabulary& source,
                 const SpecialTokens& special) {
  Json out = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"clean_up_tokenization_spaces", false}};
  const auto put = [&](const char* name, const std::optional<TokenId>& id) {
    if (id) out[name] = source.tokens[static_cast<std::size_t>(*id)];
  };
  put("bos_token", special.bos);
  put("eos_token", special.eos);
  put("unk_token", special.unknown);
  put("pad_token", special.padding);
  const std::string text = gguf_chat_template(metadata);
  if (!text.empty()) out["chat_template"] = text;
  if (const auto* architecture = metadata.find_string("general.architecture"))
    if (const auto context = metadata.find_integer(*architecture + ".context_length", 1, INT32_MAX))
      out["model_max_length"] = *context;
  return out;
}

Json generation_json(const SpecialTokens& special) {
  Json out = Json::object();
  if (special.bos) out["bos_token_id"] = *special.bos;
  if (special.padding) out["pad_token_id"] = *special.padding;
  if (special.end_of_text.size() == 1)
    out["eos_token_id"] = special.end_of_text.front();
  else if (!special.end_of_text.empty())
    out["eos_token_id"] = special.end_of_text;
  return out;
}

void check_representable(const io::GgufMetadata& metadata, const GgufVocabulary& source) {
  for (std::size_t id = 0; id < source.tokens.size(); ++id)
    if (first_invalid_utf8(source.tokens[id]))
      fail(ErrorKind::unsupported,
           {.code = "GG_TOKEN_UTF8",
            .file = metadata.file(),
            .item = "tokenizer.ggml.tokens",
            .found = std::to_string(id),
            .expected = "UTF-8, which tokenizer.json is written in",
            .hint = "keep the GGUF file for its tokenizer"},
           "token {} ({}) is not UTF-8 and cannot be written to tokenizer.json", id,
           quote(source.tokens[id]));
}

Files files_of(const io::GgufMetadata& metadata) {
  const GgufVocabulary source = read_gguf_vocabulary(metadata);
  const SpecialTokens special = gguf_special_tokens(metadata, source);
  check_representable(metadata, source);
  Files files;
  if (const std::string* embedded = metadata.find_string("tokenizer.huggingface.json")) {
    files["tokenizer.json"] = *embedded;
  } else {
    Json document = gguf_components(metadata, source);
    const bool ignore_merges = document["ignore_merges"].get<bool>();
    document.erase("ignore_merges");
    document["version"] = "1.0";
    document["truncation"] = nullptr;
    document["padding"] = nullptr;
    document["added_tokens"] = added_json(source, special);
    document["model"] = model_json(metadata, source, special, ignore_merges);
    files["tokenizer.json"] = to_text(document, 1);
  }
  files["tokenizer_config.json"] = to_text(config_json(metadata, source, special), 2);
  files["generation_config.json"] = to_text(generation_json(special), 2);
  return files;
}

}  // namespace

Files tokenizer_files(const io::Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return files_of(*checkpoint.gguf());
  Files files;
  for (const char* name : kCopied)
    if (auto text = checkpoint.read(name)) files.emplace(name, *std::move(text));
  return files;
}

}  // namespace tender::text
