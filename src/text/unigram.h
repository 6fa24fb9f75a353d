#pragma once

#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/word_model.h"

namespace tender::text {

/// SentencePiece's unigram model (Kudo 2018): of all ways to cut a text into pieces, the one with
/// the greatest sum of scores, found by Viterbi's algorithm in float32 from left to right as the
/// reference does it. A character that no piece covers costs ten more than the worst piece.
class Unigram final : public WordModel {
 public:
  /// @param scores, types  by id, vocabulary.size() of each; scores finite
  Unigram(const Vocabulary& vocabulary, const std::vector<float>& scores,
          const std::vector<PieceType>& types, std::optional<TokenId> unknown);

 private:
  /// The best way to reach a place in the text.
  struct Step {
    float score = 0;
    std::size_t begin = 0;  ///< of its last piece
    TokenId id = -1;        ///< of its last piece; -1 for an unknown character
    bool reached = false;
  };
  void merge_word(std::string_view word, EncodeScratch& scratch,
                  std::vector<TokenId>& out) const override;
  std::vector<Step> best_steps(std::string_view word) const;

  TokenMatcher pieces_;
  std::vector<float> scores_;
  std::vector<PieceType> types_;
  float best_ = 0;
  float unknown_score_ = 0;
};

}  // namespace tender::text
