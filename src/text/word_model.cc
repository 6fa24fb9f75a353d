#include "text/word_model.h"

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/merge_symbols.h"

namespace tender::text {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";  // ▁, SentencePiece's space

void append_symbol(std::vector<Symbol>& symbols, std::size_t begin, std::size_t length,
                   TokenId id) {
  const auto place = static_cast<std::int64_t>(symbols.size());
  if (place > 0) symbols.back().next = place;
  symbols.push_back({begin, length, place - 1, -1, id});
}

bool ends_with_mark(std::string_view text) { return text.ends_with(kMark); }

/// Whether a run of marks begins inside of `text`, behind another character.
bool has_inner_mark(std::string_view text) {
  for (std::size_t at = text.find(kMark); at != std::string_view::npos;
       at = text.find(kMark, at + 1))
    if (at > 0 && !ends_with_mark(text.substr(0, at))) return true;
  return false;
}

}  // namespace

void WordModel::encode(std::string_view word, EncodeScratch& scratch,
                       std::vector<TokenId>& out) const {
  if (!splits_at_marks_) return encode_cached(word, scratch, out);
  std::size_t begin = 0;
  for (std::size_t at = word.find(kMark, 1); at != std::string_view::npos;
       at = word.find(kMark, at + 1)) {
    if (ends_with_mark(word.substr(0, at))) continue;
    encode_cached(word.substr(begin, at - begin), scratch, out);
    begin = at;
  }
  encode_cached(word.substr(begin), scratch, out);
}

void WordModel::encode_cached(std::string_view word, EncodeScratch& scratch,
                              std::vector<TokenId>& out) const {
  WordCache::Slot* slot = scratch.cache.slot(word);
  if (slot != nullptr && slot->holds(word)) {
    out.insert(out.end(), slot->ids.begin(), slot->ids.begin() + slot->count);
    return;
  }
  const std::size_t before = out.size();
  merge_word(word, scratch, out);
  if (slot != nullptr) slot->keep(word, std::span<const TokenId>(out).subspan(before));
}

void WordModel::encode_invalid(std::string_view bytes, EncodeScratch& scratch,
                               std::vector<TokenId>& out) const {
  if (raw_bytes_) return encode(bytes, scratch, out);
  bool unknown_before = false;
  for (const char byte : bytes) {
    const TokenId id = byte_tokens_[static_cast<unsigned char>(byte)];
    if (id >= 0) out.push_back(id);
    if (id < 0 && unknown_ && !unknown_before) out.push_back(*unknown_);
    unknown_before = id < 0;
  }
}

std::optional<Merge> make_merge(const Vocabulary& vocabulary, std::string_view left,
                                std::string_view right) {
  const auto a = vocabulary.find(left);
  const auto b = vocabulary.find(right);
  if (!a || !b) return std::nullopt;
  const auto both = vocabulary.find(std::string(left).append(right));
  if (!both) return std::nullopt;
  return Merge{*a, *b, *both};
}

namespace {

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U |
         static_cast<std::uint32_t>(right);
}

/// Whether some rule joins a text with the mark behind it.
bool crosses_mark(const Vocabulary& vocabulary, const std::vector<Merge>& merges) {
  return std::any_of(merges.begin(), merges.end(), [&](const Merge& merge) {
    return vocabulary.text(merge.right).starts_with(kMark) &&
           !ends_with_mark(vocabulary.text(merge.left));
  });
}

}  // namespace

RankBpe::RankBpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                 const BpeOptions& options)
    : WordModel(vocabulary), options_(options) {
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank)
    merges_.set(
        pair_key(merges[rank].left, merges[rank].right),
        static_cast<std::uint64_t>(rank) << 32U | static_cast<std::uint32_t>(merges[rank].merged));
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<unsigned char>(byte);
    stand_ins_[byte] = vocabulary.find(stand_in(value)).value_or(-1);
    byte_tokens_[byte] =
        options.byte_fallback ? vocabulary.find(byte_token_text(value)).value_or(-1) : -1;
  }
  raw_bytes_ = options.raw_bytes;
  unknown_ = options.unknown;
  // Characters that vanish let their neighbours meet, so none may.
  const bool keeps_all = options.unknown || std::find(byte_tokens_.begin(), byte_tokens_.end(),
                                                      -1) == byte_tokens_.end();
  splits_at_marks_ = keeps_all && !options.raw_bytes && !options.ignore_merges &&
                     vocabulary.find(kMark) && !crosses_mark(vocabulary, merges);
}

void RankBpe::merge_word(std::string_view word, EncodeScratch& scratch,
                         std::vector<TokenId>& out) const {
  if (options_.ignore_merges) {
    const auto whole = vocabulary_.find(raw_bytes_ ? to_stand_ins(word) : std::string(word));
    if (whole) return out.push_back(*whole);
  }
  scratch.symbols.clear();
  if (raw_bytes_)
    add_bytes(word, scratch);
  else
    add_characters(word, scratch);
  const auto find = [this](const Symbol& a, const Symbol& b) -> std::optional<Candidate> {
    const std::uint64_t* rule = merges_.find(pair_key(a.id, b.id));
    if (rule == nullptr) return std::nullopt;
    return Candidate{static_cast<std::uint32_t>(*rule >> 32U),
                     static_cast<TokenId>(*rule & 0xffffffffU), 0, 0};
  };
  merge_symbols(scratch, find, [](const Symbol&, const Symbol&, TokenId) {});
  for (const Symbol& symbol : scratch.symbols)
    if (symbol.length != 0) out.push_back(symbol.id);
}

void RankBpe::add_bytes(std::string_view word, EncodeScratch& scratch) const {
  bool unknown_before = false;
  for (std::size_t at = 0; at < word.size(); ++at) {
    const TokenId id = stand_ins_[static_cast<unsigned char>(word[at])];
    if (id >= 0) {
      append_symbol(scratch.symbols, at, 1, id);
    } else if (unknown_) {
      if (unknown_before && options_.fuse_unknown)
        ++scratch.symbols.back().length;
      else
        append_symbol(scratch.symbols, at, 1, *unknown_);
    }
    unknown_before = id < 0;
  }
}

void RankBpe::add_characters(std::string_view word, EncodeScratch& scratch) const {
  bool unknown_before = false;
  for (std::size_t at = 0; at < word.size();) {
    // Words are UTF-8; should one not be, a stray byte counts as a character.
    const std::size_t length = std::max<std::size_t>(read_code_point(word.substr(at)).bytes, 1);
    const std::string_view character = word.substr(at, length);
    const auto id = vocabulary_.find(character);
    const bool by_bytes = !id && std::all_of(character.begin(), character.end(), [&](char byte) {
      return byte_tokens_[static_cast<unsigned char>(byte)] >= 0;
    });
    if (id) {
      append_symbol(scratch.symbols, at, length, *id);
    } else if (by_bytes) {
      for (std::size_t i = 0; i < length; ++i)
        append_symbol(scratch.symbols, at + i, 1,
                      byte_tokens_[static_cast<unsigned char>(word[at + i])]);
    } else if (unknown_) {
      if (unknown_before && options_.fuse_unknown)
        scratch.symbols.back().length += length;
      else
        append_symbol(scratch.symbols, at, length, *unknown_);
    }
    unknown_before = !id && !by_bytes && unknown_.has_value();
    at += length;
  }
}

ScoreBpe::ScoreBpe(const Vocabulary& vocabulary, const std::vector<float>& scores,
                   const std::vector<PieceType>& types, std::optional<TokenId> unknown)
    : WordModel(vocabulary), orders_(scores.size()), types_(types) {
  std::vector<float> best(scores);
  std::sort(best.begin(), best.end(), std::greater<>());
  best.erase(std::unique(best.begin(), best.end()), best.end());
  bool inner_mark = false;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto place = std::lower_bound(best.begin(), best.end(), scores[i], std::greater<>());
    orders_[i] = static_cast<std::uint32_t>(place - best.begin());
    const std::string_view text = vocabulary.text(static_cast<TokenId>(i));
    if (piece(text)) {
      longest_ = std::max(longest_, text.size());
      inner_mark = inner_mark || has_inner_mark(text);
    }
  }
  byte_tokens_.fill(-1);
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (types[i] != PieceType::byte) continue;
    if (const auto byte = byte_token_value(vocabulary.text(id))) byte_tokens_[*byte] = id;
  }
  unknown_ = unknown;
  splits_at_marks_ = !inner_mark && piece(kMark).has_value();
}

std::optional<TokenId> ScoreBpe::piece(std::string_view text) const {
  const auto id = vocabulary_.find(text);
  if (!id) return std::nullopt;
  const PieceType type = types_[static_cast<std::size_t>(*id)];
  const bool is_piece =
      type == PieceType::normal || type == PieceType::user_defined || type == PieceType::unused;
  return is_piece ? id : std::nullopt;
}

void ScoreBpe::merge_word(std::string_view word, EncodeScratch& scratch,
                          std::vector<TokenId>& out) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = std::max<std::size_t>(read_code_point(word.substr(at)).bytes, 1);
    append_symbol(symbols, at, length, piece(word.substr(at, length)).value_or(-1));
    at += length;
  }
  const auto find = [&](const Symbol& a, const Symbol& b) -> std::optional<Candidate> {
    if (a.length + b.length > longest_) return std::nullopt;
    const auto id = piece(word.substr(a.begin, a.length + b.length));
    if (!id) return std::nullopt;
    return Candidate{orders_[static_cast<std::size_t>(*id)], *id, 0, 0};
  };
  // Unused pieces may stand on the way to longer ones, but are taken apart where they are left
  // over.
  Halves halves;
  merge_symbols(scratch, find, [&](const Symbol& a, const Symbol& b, TokenId id) {
    if (is_unused(id)) halves[{a.begin, b.begin + b.length}] = b.begin;
  });
  bool unknown_before = false;
  for (const Symbol& symbol : symbols)
    if (symbol.length != 0)
      give(word, {symbol.begin, symbol.begin + symbol.length}, halves, unknown_before, out);
}

void ScoreBpe::give(std::string_view word, Span whole, const Halves& halves, bool& unknown_before,
                    std::vector<TokenId>& out) const {
  std::vector<Span> waiting{whole};  // the leftmost one last
  while (!waiting.empty()) {
    const Span span = waiting.back();
    waiting.pop_back();
    const std::string_view text = word.substr(span.begin, span.end - span.begin);
    const auto id = piece(text);
    const auto halved = halves.empty() ? halves.end() : halves.find({span.begin, span.end});
    if (halved != halves.end()) {
      waiting.push_back({halved->second, span.end});
      waiting.push_back({span.begin, halved->second});
    } else if (id) {
      out.push_back(*id);
      unknown_before = false;
    } else {
      for (const char byte : text) {
        const TokenId token = byte_tokens_[static_cast<unsigned char>(byte)];
        if (token >= 0) out.push_back(token);
        if (token < 0 && unknown_ && !unknown_before) out.push_back(*unknown_);
        unknown_before = token < 0;
      }
    }
  }
}

}  // namespace tender::text
