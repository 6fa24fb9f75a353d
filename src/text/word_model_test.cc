#include "text/word_model.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/rng.h"
#include "text/byte_level.h"
#include "text/unigram.h"

namespace tender::text {
namespace {

/// Small random vocabularies over few letters, so that rules overlap and compete.
struct RandomBpe {
  Vocabulary vocabulary;
  std::vector<Merge> merges;

  explicit RandomBpe(std::uint64_t seed) {
    Rng rng(seed, "bpe");
    std::vector<std::string> tokens = {"a", "b", "c", "▁"};
    for (std::size_t i = 0; i < tokens.size(); ++i)
      vocabulary.add(static_cast<TokenId>(i), tokens[i]);
    for (int tries = 0; tries < 60; ++tries) {
      const std::string left = tokens[rng.below(tokens.size())];
      const std::string right = tokens[rng.below(tokens.size())];
      if (left.size() + right.size() > 12) continue;
      if (!vocabulary.find(left + right)) {
        vocabulary.add(static_cast<TokenId>(tokens.size()), left + right);
        tokens.push_back(left + right);
      }
      const Merge merge = *make_merge(vocabulary, left, right);
      const auto same = [&](const Merge& m) {
        return m.left == merge.left && m.right == merge.right;
      };
      if (std::none_of(merges.begin(), merges.end(), same)) merges.push_back(merge);
    }
  }
};

std::string random_word(Rng& rng, std::size_t length) {
  const std::string letters[] = {"a", "b", "c", "▁"};
  std::string out;
  for (std::size_t i = 0; i < length; ++i) out += letters[rng.below(4)];
  return out;
}

std::vector<TokenId> letters_of(const Vocabulary& vocabulary, const std::string& word) {
  std::vector<TokenId> ids;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = word[at] == '\xe2' ? 3 : 1;
    ids.push_back(*vocabulary.find(word.substr(at, length)));
    at += length;
  }
  return ids;
}

/// BPE as it is defined: while some rule applies, the first rule at its leftmost place.
std::vector<TokenId> by_definition(const RandomBpe& bpe, const std::string& word) {
  std::vector<TokenId> ids = letters_of(bpe.vocabulary, word);
  for (bool found = true; found;) {
    found = false;
    for (const Merge& merge : bpe.merges) {
      for (std::size_t i = 0; i + 1 < ids.size() && !found; ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = merge.merged;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        found = true;
      }
      if (found) break;
    }
  }
  return ids;
}

/// SentencePiece's BPE as it is defined: the neighbours whose piece has the best score, leftmost
/// first.
std::vector<TokenId> by_definition(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                   const std::string& word) {
  std::vector<TokenId> ids = letters_of(vocabulary, word);
  while (true) {
    std::optional<std::pair<std::size_t, TokenId>> best;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto id =
          vocabulary.find(std::string(vocabulary.text(ids[i])).append(vocabulary.text(ids[i + 1])));
      const auto score = [&](TokenId token) { return scores[static_cast<std::size_t>(token)]; };
      if (id && (!best || score(*id) > score(best->second))) best.emplace(i, *id);
    }
    if (!best) return ids;
    ids[best->first] = best->second;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best->first) + 1);
  }
}

std::vector<TokenId> encode(const WordModel& model, const std::string& word) {
  EncodeScratch scratch(word.size());
  std::vector<TokenId> ids;
  model.encode(word, scratch, ids);
  return ids;
}

TEST(WordModelTest, MergingByRankEqualsItsDefinition) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const RandomBpe bpe(seed);
    const RankBpe model(bpe.vocabulary, bpe.merges, {.unknown = 0});
    Rng rng(seed, "words");
    for (std::size_t length = 1; length < 40; ++length) {
      const std::string word = random_word(rng, length);
      EXPECT_EQ(encode(model, word), by_definition(bpe, word)) << "seed " << seed << ": " << word;
    }
  }
}

TEST(WordModelTest, MergingByScoreEqualsItsDefinition) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const RandomBpe bpe(seed);
    Rng rng(seed, "scores");
    std::vector<float> scores(bpe.vocabulary.size());
    for (float& score : scores) score = -static_cast<float>(rng.below(30));  // some are equal
    const std::vector<PieceType> types(scores.size(), PieceType::normal);
    const ScoreBpe model(bpe.vocabulary, scores, types, std::nullopt);
    for (std::size_t length = 1; length < 40; ++length) {
      const std::string word = random_word(rng, length);
      EXPECT_EQ(encode(model, word), by_definition(bpe.vocabulary, scores, word))
          << "seed " << seed << ": " << word;
    }
  }
}

TEST(WordModelTest, UnusedPiecesServeOnTheWayAndAreTakenApartAtTheEnd) {
  Vocabulary vocabulary;
  for (const char* text : {"a", "b", "c", "ab", "abc"})
    vocabulary.add(static_cast<TokenId>(vocabulary.size()), text);
  const std::vector<float> scores = {0, 0, 0, -1, -2};
  std::vector<PieceType> types(5, PieceType::normal);
  types[3] = PieceType::unused;
  const ScoreBpe model(vocabulary, scores, types, std::nullopt);
  EXPECT_EQ(encode(model, "abc"), (std::vector<TokenId>{4}));
  EXPECT_EQ(encode(model, "abab"), (std::vector<TokenId>{0, 1, 0, 1}));
}

TEST(WordModelTest, UnigramFindsTheBestSumOfScores) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const RandomBpe bpe(seed);
    Rng rng(seed, "scores");
    std::vector<float> scores(bpe.vocabulary.size());
    for (float& score : scores)
      score = -static_cast<float>(rng.below(1000)) / 64;  // sums are exact
    const Unigram model(bpe.vocabulary, scores,
                        std::vector<PieceType>(scores.size(), PieceType::normal), 0);
    for (std::size_t length = 1; length < 9; ++length) {
      const std::string word = random_word(rng, length);
      // Every way to cut the word, tried one by one.
      const auto best_of = [&](const auto& self, std::size_t at) -> float {
        if (at == word.size()) return 0;
        float best = -1e30F;
        for (std::size_t end = at + 1; end <= word.size(); ++end)
          if (const auto id = bpe.vocabulary.find(word.substr(at, end - at)))
            best = std::max(best, scores[static_cast<std::size_t>(*id)] + self(self, end));
        return best;
      };
      float sum = 0;
      std::string joined;
      for (const TokenId id : encode(model, word)) {
        sum += scores[static_cast<std::size_t>(id)];
        joined += bpe.vocabulary.text(id);
      }
      EXPECT_EQ(joined, word);
      EXPECT_EQ(sum, best_of(best_of, 0)) << "seed " << seed << ": " << word;
    }
  }
}

TEST(WordModelTest, AMebibyteInOnePreTokenIsNotQuadratic) {
  const RandomBpe bpe(3);
  const RankBpe by_rank(bpe.vocabulary, bpe.merges, {});
  const std::vector<float> scores(bpe.vocabulary.size(), -1);
  const std::vector<PieceType> types(scores.size(), PieceType::normal);
  const ScoreBpe by_score(bpe.vocabulary, scores, types, std::nullopt);
  const Unigram by_sum(bpe.vocabulary, scores, types, std::nullopt);
  Rng rng(3, "long");
  for (const std::string& word : {std::string(1U << 20U, 'a'), random_word(rng, 1U << 19U)})
    for (const WordModel* model :
         {static_cast<const WordModel*>(&by_rank), static_cast<const WordModel*>(&by_score),
          static_cast<const WordModel*>(&by_sum)}) {
      const auto begin = std::chrono::steady_clock::now();
      std::string joined;
      for (const TokenId id : encode(*model, word)) joined += bpe.vocabulary.text(id);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      EXPECT_TRUE(joined == word);
      // 2^20 steps squared would last for minutes on any machine, even without sanitizers.
      EXPECT_LT(seconds.count(), 60);
    }
}

TEST(WordModelTest, ByteStandInsAreOneToOneAndPrintable) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    EXPECT_EQ(from_stand_ins(to_stand_ins(one)), one);
    EXPECT_EQ(byte_token_value(byte_token_text(static_cast<unsigned char>(byte))), byte);
  }
  EXPECT_EQ(to_stand_ins(" \n"), "\xc4\xa0\xc4\x8a");
  EXPECT_EQ(from_stand_ins("a b"), std::nullopt) << "a blank stands for nothing";
  for (const char* bad : {"<0x1>", "<0x-1>", "<0xG0>", "<0x100>", "0x10", "<0x1 >"})
    EXPECT_EQ(byte_token_value(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace tender::text
