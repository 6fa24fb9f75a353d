#include "text/pipeline.h"

#include <algorithm>

#include "base/utf8.h"

namespace tender::text {
namespace {

AddedTokens added_tokens_of(const TokenizerParts& parts) {
  RegexScratch scratch;
  return {parts.added, [&](const std::string& content) {
            std::string text = content;
            if (parts.normalizer) parts.normalizer->apply(text, Place::start, scratch);
            return text;
          }};
}

}  // namespace

std::optional<TokenId> TokenizerParts::find(std::string_view text) const {
  const auto found =
      std::find_if(added.begin(), added.end(), [&](const auto& t) { return t.content == text; });
  return found != added.end() ? found->id : vocabulary->find(text);
}

bool TokenizerParts::exists(TokenId id) const {
  return vocabulary->exists(id) ||
         std::any_of(added.begin(), added.end(), [&](const auto& t) { return t.id == id; });
}

void TokenizerParts::add(AddedToken token) {
  const auto same =
      std::find_if(added.begin(), added.end(), [&](const auto& t) { return t.id == token.id; });
  if (same == added.end())
    added.push_back(std::move(token));
  else
    same->special = same->special || token.special;
}

Pipeline::Pipeline(TokenizerParts parts)
    : parts_(std::move(parts)), added_(added_tokens_of(parts_)) {
  special_ = parts_.special;
  special_.adds_bos = !parts_.prefix.empty();
  special_.adds_eos = !parts_.suffix.empty();
  chat_template_ = parts_.chat_template;
  notes_ = parts_.notes;
  size_ = parts_.vocabulary->size();
  for (const AddedToken& token : added_.all())
    size_ = std::max(size_, static_cast<std::size_t>(token.id) + 1);
}

std::vector<TokenId> Pipeline::encode(std::string_view text, const EncodeOptions& options) const {
  EncodeScratch scratch(text.size());
  Ids out;
  out.reserve(text.size() / 3 + 8);
  if (options.add_special) out = parts_.prefix;
  Place place = Place::start;
  added_.split(text, AddedTokens::Pass::raw, options.parse_special, [&](const Segment& segment) {
    if (segment.token == nullptr)
      return encode_segment(segment.text, place, options.parse_special, scratch, out);
    out.push_back(segment.token->id);
    place = segment.token->continues ? Place::continued : Place::segment;
  });
  if (options.add_special) out.insert(out.end(), parts_.suffix.begin(), parts_.suffix.end());
  return out;
}

void Pipeline::encode_segment(std::string_view text, Place place, bool parse_special,
                              EncodeScratch& scratch, Ids& out) const {
  while (!text.empty()) {
    const std::size_t valid = first_invalid_utf8(text).value_or(text.size());
    if (valid > 0) encode_utf8(text.substr(0, valid), place, parse_special, scratch, out);
    text.remove_prefix(valid);
    std::size_t invalid = 0;
    while (invalid < text.size() && read_code_point(text.substr(invalid)).bytes == 0) ++invalid;
    parts_.model->encode_invalid(text.substr(0, invalid), scratch, out);
    text.remove_prefix(invalid);
    place = Place::continued;
  }
}

void Pipeline::encode_utf8(std::string_view text, Place place, bool parse_special,
                           EncodeScratch& scratch, Ids& out) const {
  std::string normalized;
  if (parts_.normalizer) {
    normalized = text;
    parts_.normalizer->apply(normalized, place, scratch.regex);
    text = normalized;
  }
  if (added_.empty(AddedTokens::Pass::normalized))
    return encode_normalized(text, place, scratch, out);
  added_.split(text, AddedTokens::Pass::normalized, parse_special, [&](const Segment& segment) {
    if (segment.token == nullptr)
      encode_normalized(segment.text, place, scratch, out);
    else
      out.push_back(segment.token->id);
    place = Place::segment;
  });
}

void Pipeline::encode_normalized(std::string_view text, Place place, EncodeScratch& scratch,
                                 Ids& out) const {
  if (text.empty()) return;
  if (parts_.pre_tokenization.steps == nullptr) return parts_.model->encode(text, scratch, out);
  parts_.pre_tokenization.steps->split({text, place}, scratch.regex, [&](const Piece& piece) {
    parts_.model->encode(piece.text, scratch, out);
  });
}

std::string Pipeline::decode(std::span<const TokenId> ids, bool keep_special) const {
  std::string out;
  bool first = true;
  for (const TokenId id : ids) {
    const AddedToken* added = added_.find(id);
    if (added == nullptr && !parts_.vocabulary->exists(id)) continue;
    if (added != nullptr && added->special && !keep_special) continue;
    if (!first) out += parts_.decoder.joint();
    const std::string_view text = added != nullptr ? added->content : parts_.vocabulary->text(id);
    out += parts_.decoder.token(text, first, added != nullptr);
    first = false;
  }
  parts_.decoder.finish(out);
  return out;
}

std::string Pipeline::piece(TokenId id, bool keep_special) const {
  const AddedToken* added = added_.find(id);
  if (added == nullptr) return parts_.decoder.piece(parts_.vocabulary->text(id), false);
  if (added->special && !keep_special) return {};
  return parts_.decoder.piece(added->content, true);
}

bool Pipeline::exists(TokenId id) const {
  return added_.find(id) != nullptr || parts_.vocabulary->exists(id);
}

bool Pipeline::is_special(TokenId id) const {
  const AddedToken* added = added_.find(id);
  return added != nullptr && added->special;
}

std::optional<TokenId> Pipeline::find(std::string_view token) const {
  const AddedToken* added = added_.find(token);
  return added != nullptr ? std::optional(added->id) : parts_.vocabulary->find(token);
}

}  // namespace tender::text
