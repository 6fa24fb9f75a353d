#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/flat_map.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace tender::text {

/// A piece of the word being merged: bytes [begin, begin + length), in a list over positions.
struct Symbol {
  std::size_t begin = 0;
  std::size_t length = 0;  ///< 0 once it is merged into the one before it
  std::int64_t previous = -1;
  std::int64_t next = -1;
  TokenId id = -1;
};

/// A merge that may still happen; stale ones are found out when their turn comes.
struct Candidate {
  std::uint32_t order = 0;  ///< lowest first, then leftmost
  TokenId merged = -1;
  std::size_t left = 0;
  std::size_t length = 0;  ///< of both symbols together, at the time of writing
};

/// Memory of one call of encode().
struct EncodeScratch {
  explicit EncodeScratch(std::size_t text_bytes) : cache(text_bytes) {}
  RegexScratch regex;
  WordCache cache;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

/// Turns a pre-token into ids: the `model` of a tokenizer. Cost O(n log n) for n bytes.
class WordModel {
 public:
  virtual ~WordModel() = default;

  /// Appends the ids of `word`. Byte-level models take any bytes, others UTF-8.
  void encode(std::string_view word, EncodeScratch& scratch, std::vector<TokenId>& out) const;

  /// Appends the ids of bytes that are no UTF-8: their byte tokens, or else the unknown token once.
  void encode_invalid(std::string_view bytes, EncodeScratch& scratch,
                      std::vector<TokenId>& out) const;

 protected:
  explicit WordModel(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  virtual void merge_word(std::string_view word, EncodeScratch& scratch,
                          std::vector<TokenId>& out) const = 0;

  const Vocabulary& vocabulary_;
  bool raw_bytes_ = false;        ///< words are bytes, not characters
  bool splits_at_marks_ = false;  ///< no merge crosses the border before a run of "▁"
  std::optional<TokenId> unknown_;
  std::array<TokenId, 256> byte_tokens_{};  ///< of "<0x00>" …; -1 where there is none

 private:
  void encode_cached(std::string_view word, EncodeScratch& scratch,
                     std::vector<TokenId>& out) const;
};

/// One rule of BPE: `left` and `right` side by side become `merged`. Its rank is its place in the
/// list.
struct Merge {
  TokenId left = -1;
  TokenId right = -1;
  TokenId merged = -1;
};

/// The rule for two tokens by their texts; nothing if either or their concatenation is unknown.
std::optional<Merge> make_merge(const Vocabulary& vocabulary, std::string_view left,
                                std::string_view right);

struct BpeOptions {
  bool raw_bytes =
      false;  ///< words are bytes whose stand-ins (byte_level.h) are the vocabulary's characters
  bool ignore_merges = false;        ///< a word that is a token is taken whole
  bool byte_fallback = false;        ///< an unknown character becomes its byte tokens
  bool fuse_unknown = false;         ///< a run of unknown characters is one unknown token
  std::optional<TokenId> unknown{};  ///< without it unknown characters vanish, as in the reference
};

/// BPE by rank (Sennrich, Haddow, Birch 2016, algorithm 1) as the HF tokenizers library runs it.
class RankBpe final : public WordModel {
 public:
  RankBpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
          const BpeOptions& options);

 private:
  void merge_word(std::string_view word, EncodeScratch& scratch,
                  std::vector<TokenId>& out) const override;
  void add_bytes(std::string_view word, EncodeScratch& scratch) const;
  void add_characters(std::string_view word, EncodeScratch& scratch) const;

  BpeOptions options_;
  FlatMap merges_;  // left << 32 | right → rank << 32 | merged
  std::array<TokenId, 256> stand_ins_{};
};

/// What a piece of a SentencePiece vocabulary is for; the numbers of its file and of GGUF.
enum class PieceType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// SentencePiece's BPE (Kudo, Richardson 2018): the two neighbours that make the piece of the best
/// score are joined, leftmost first.
class ScoreBpe final : public WordModel {
 public:
  /// @param scores, types  by id, vocabulary.size() of each
  ScoreBpe(const Vocabulary& vocabulary, const std::vector<float>& scores,
           const std::vector<PieceType>& types, std::optional<TokenId> unknown);

 private:
  void merge_word(std::string_view word, EncodeScratch& scratch,
                  std::vector<TokenId>& out) const override;
  /// Of an unused piece that merges made, [begin, end): where its right half began.
  using Halves = std::map<std::pair<std::size_t, std::size_t>, std::size_t>;
  void give(std::string_view word, Span whole, const Halves& halves, bool& unknown_before,
            std::vector<TokenId>& out) const;
  std::optional<TokenId> piece(std::string_view text) const;
  bool is_unused(TokenId id) const {
    return types_[static_cast<std::size_t>(id)] == PieceType::unused;
  }

  std::vector<std::uint32_t> orders_;  // by id: 0 for the best score
  std::vector<PieceType> types_;
  std::size_t longest_ = 0;  // piece, in bytes
};

}  // namespace tender::text
