#include "text/unigram.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/byte_level.h"

namespace tender::text {
namespace {

constexpr float kUnknownPenalty = 10;

}  // namespace

Unigram::Unigram(const Vocabulary& vocabulary, const std::vector<float>& scores,
                 const std::vector<PieceType>& types, std::optional<TokenId> unknown)
    : WordModel(vocabulary), scores_(scores), types_(types) {
  bool first = true;
  float worst = 0;
  byte_tokens_.fill(-1);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::string_view text = vocabulary.text(static_cast<TokenId>(i));
    if (types[i] == PieceType::byte)
      if (const auto byte = byte_token_value(text)) byte_tokens_[*byte] = static_cast<TokenId>(i);
    if (types[i] == PieceType::normal) {
      worst = first ? scores[i] : std::min(worst, scores[i]);
      best_ = first ? scores[i] : std::max(best_, scores[i]);
      first = false;
    }
    const bool matches = types[i] == PieceType::normal || types[i] == PieceType::user_defined;
    if (matches && !text.empty()) pieces_.add(text, i);
  }
  unknown_score_ = worst - kUnknownPenalty;
  unknown_ = unknown;
}

std::vector<Unigram::Step> Unigram::best_steps(std::string_view word) const {
  std::vector<Step> steps(word.size() + 1);
  steps[0].reached = true;
  const auto offer = [&](std::size_t begin, std::size_t end, float score, TokenId id) {
    Step& step = steps[end];
    const float total = steps[begin].score + score;
    if (!step.reached || total > step.score) step = {total, begin, id, true};
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = std::max<std::size_t>(read_code_point(word.substr(at)).bytes, 1);
    bool alone = false;  // some piece is this character
    pieces_.for_each_prefix(word.substr(at), [&](std::size_t index, std::size_t bytes) {
      // User-defined pieces always win over what they could be cut into.
      const float score = types_[index] == PieceType::user_defined
                              ? static_cast<float>(bytes) * best_ - 0.1F
                              : scores_[index];
      offer(at, at + bytes, score, static_cast<TokenId>(index));
      alone = alone || bytes == length;
    });
    if (!alone) offer(at, at + length, unknown_score_, -1);
    at += length;
  }
  return steps;
}

void Unigram::merge_word(std::string_view word, EncodeScratch&, std::vector<TokenId>& out) const {
  const std::vector<Step> steps = best_steps(word);
  std::vector<std::size_t> ends;
  for (std::size_t at = word.size(); at > 0; at = steps[at].begin) ends.push_back(at);
  bool unknown_before = false;
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const Step& step = steps[*end];
    if (step.id >= 0) {
      out.push_back(step.id);
      unknown_before = false;
      continue;
    }
    for (const char byte : word.substr(step.begin, *end - step.begin)) {
      const TokenId token = byte_tokens_[static_cast<unsigned char>(byte)];
      if (token >= 0) out.push_back(token);
      if (token < 0 && unknown_ && !unknown_before) out.push_back(*unknown_);
      unknown_before = token < 0;
    }
  }
}

}  // namespace tender::text
