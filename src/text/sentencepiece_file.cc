#include "text/sentencepiece_file.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/end_of_text.h"
#include "text/hf_tokenizer_json.h"
#include "text/unigram.h"

namespace tender::text {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";

/// Walks the fields of one message of a protocol buffer.
class Message {
 public:
  Message(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  /// Steps to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    field_ = tag >> 3U;
    const std::uint64_t type = tag & 7U;
    number_ = 0;
    data_ = {};
    if (type == 0)
      number_ = varint();
    else if (type == 1)
      data_ = take(8);
    else if (type == 2)
      data_ = take(varint());
    else if (type == 5)
      data_ = take(4);
    else
      refuse("a field of unknown type");
    return true;
  }

  std::uint64_t field() const { return field_; }
  std::uint64_t number() const { return number_; }
  bool boolean() const { return number_ != 0; }
  std::string_view data() const { return data_; }
  /// int32, which may be stored as ten bytes with its sign.
  std::int64_t integer() const { return static_cast<std::int64_t>(number_); }
  float real() const {
    if (data_.size() != 4) refuse("a number of another size than four bytes");
    float value = 0;
    std::memcpy(&value, data_.data(), 4);
    return value;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorKind::corrupt_file,
         {.code = "TK_PROTOBUF",
          .file = file_,
          .offset = at_,
          .found = std::string(what),
          .expected = "a SentencePiece model",
          .hint = "the file is damaged or not a SentencePiece model"},
         "not a SentencePiece model: {}", what);
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) refuse("the end in the middle of a number");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return value;
    }
    refuse("a number of more than ten bytes");
  }
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) refuse("a field beyond the end");
    const std::string_view out = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += out.size();
    return out;
  }

  std::string_view bytes_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::uint64_t field_ = 0;
  std::uint64_t number_ = 0;
  std::string_view data_;
};

[[noreturn]] void refuse_component(const std::string& file, std::string_view item,
                                   std::string_view found) {
  fail(ErrorKind::unsupported,
       {.code = "TK_COMPONENT",
        .file = file,
        .item = std::string(item),
        .found = std::string(found),
        .expected = "a BPE or unigram model without a table of character changes",
        .hint = "this build cannot run the model's tokenizer"},
       "{} {} is not supported", item, quote(found));
}

/// What the file says, in its field numbers' order.
struct Model {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<PieceType> types;
  SentencePieceRules rules{.remove_extra_whitespaces = true};  // the format's default
  bool unigram = true;                                         // the format's default
  std::int64_t unknown = 0;
  std::int64_t bos = 1;
  std::int64_t eos = 2;
  std::int64_t padding = -1;
};

void read_piece(std::string_view bytes, const std::string& file, Model& model) {
  Message message(bytes, file);
  std::string text;
  float score = 0;
  std::uint64_t type = 1;
  while (message.next()) {
    if (message.field() == 1) text = message.data();
    if (message.field() == 2) score = message.real();
    if (message.field() == 3) type = message.number();
  }
  if (type < 1 || type > 6) message.refuse("a piece of unknown type");
  if (!std::isfinite(score)) message.refuse("a score that is not finite");
  if (text.empty() || first_invalid_utf8(text))
    message.refuse("a piece that is empty or not UTF-8");
  if (model.pieces.size() == kMaxVocabulary) message.refuse("more than 2^24 pieces");
  model.pieces.push_back(std::move(text));
  model.scores.push_back(score);
  model.types.push_back(static_cast<PieceType>(type));
}

void read_trainer(std::string_view bytes, const std::string& file, Model& model) {
  constexpr std::string_view kTypes[] = {"", "unigram", "bpe", "word", "char"};
  Message message(bytes, file);
  std::uint64_t type = 1;
  while (message.next()) {
    if (message.field() == 3) type = message.number();
    if (message.field() == 24 && message.boolean())
      refuse_component(file, "trainer", "treat_whitespace_as_suffix");
    if (message.field() == 40) model.unknown = message.integer();
    if (message.field() == 41) model.bos = message.integer();
    if (message.field() == 42) model.eos = message.integer();
    if (message.field() == 43) model.padding = message.integer();
  }
  if (type != 1 && type != 2)
    refuse_component(file, "model", type < std::size(kTypes) ? kTypes[type] : "of unknown type");
  model.unigram = type == 1;
}

void read_normalizer(std::string_view bytes, const std::string& file, Model& model) {
  Message message(bytes, file);
  while (message.next()) {
    if (message.field() == 2 && !message.data().empty())
      refuse_component(file, "normalizer", "Precompiled");
    if (message.field() == 3) model.rules.add_dummy_prefix = message.boolean();
    if (message.field() == 4) model.rules.remove_extra_whitespaces = message.boolean();
    if (message.field() == 5) model.rules.escape_whitespaces = message.boolean();
  }
}

Model read_model(std::string_view bytes, const std::string& file) {
  Model model;
  Message message(bytes, file);
  while (message.next()) {
    if (message.field() == 1) read_piece(message.data(), file, model);
    if (message.field() == 2) read_trainer(message.data(), file, model);
    if (message.field() == 3) read_normalizer(message.data(), file, model);
  }
  if (model.pieces.empty()) message.refuse("no pieces");
  return model;
}

std::optional<TokenId> special_id(std::int64_t id, const Model& model, const std::string& file,
                                  std::string_view name) {
  // int32 -1 says that there is none; old writers store it without its upper half.
  if (id < 0 || id == 0xffffffff) return std::nullopt;
  if (static_cast<std::uint64_t>(id) >= model.pieces.size())
    fail(ErrorKind::corrupt_file,
         {.code = "TK_SPECIAL",
          .file = file,
          .item = std::string(name),
          .found = std::to_string(id),
          .expected = fmt::format("below {}", model.pieces.size()),
          .hint = "the file is damaged"},
         "{} is {}, beyond the {} pieces", name, id, model.pieces.size());
  return static_cast<TokenId>(id);
}

void add_pieces(const Model& model, const std::string& file, TokenizerParts& parts) {
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const PieceType type = model.types[i];
    const auto id = static_cast<TokenId>(i);
    const std::string& text = model.pieces[i];
    if (type == PieceType::byte && !byte_token_value(text))
      fail(ErrorKind::corrupt_file,
           {.code = "TK_BYTE_TOKEN",
            .file = file,
            .item = std::to_string(i),
            .found = text,
            .expected = "<0x00> to <0xFF>",
            .hint = "the file is damaged"},
           "byte piece {} is {}", i, quote(text));
    add_checked(*parts.vocabulary, id, text, file);
    AddedToken token;
    token.id = id;
    token.content = text;
    token.special = type == PieceType::control || type == PieceType::unknown;
    token.continues = type == PieceType::user_defined;
    if (token.continues)  // found before spaces are turned into marks
      for (std::size_t at = 0; (at = token.content.find(kMark, at)) != std::string::npos;)
        token.content.replace(at, kMark.size(), " ");
    if (token.special || token.continues) parts.added.push_back(std::move(token));
  }
}

Json replace_regex(const std::string& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", content}};
}

}  // namespace

Json sentencepiece_components(const SentencePieceRules& rules) {
  const std::string mark(kMark);
  Json normalizers = Json::array();
  if (rules.remove_extra_whitespaces) {
    normalizers.push_back(replace_regex(R"(\A +| +\z)", ""));
    normalizers.push_back(replace_regex(" +", " "));
  }
  if (rules.add_dummy_prefix)
    normalizers.push_back(
        {{"type", "Prepend"}, {"prepend", rules.escape_whitespaces ? mark : " "}});
  if (rules.escape_whitespaces)
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}});
  Json decoders = Json::array();
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (rules.add_dummy_prefix)
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}}};
}

TokenizerParts read_sentencepiece_file(std::string_view bytes, const std::string& file) {
  const Model model = read_model(bytes, file);
  TokenizerParts parts;
  parts.kind = model.unigram ? "SentencePiece unigram" : "SentencePiece BPE";
  parts.vocabulary = std::make_unique<Vocabulary>();
  add_pieces(model, file, parts);
  parts.special.unknown = special_id(model.unknown, model, file, "unk_id");
  parts.special.bos = special_id(model.bos, model, file, "bos_id");
  parts.special.eos = special_id(model.eos, model, file, "eos_id");
  parts.special.padding = special_id(model.padding, model, file, "pad_id");
  add_components(sentencepiece_components(model.rules), file, parts);
  if (model.unigram)
    parts.model = std::make_unique<Unigram>(*parts.vocabulary, model.scores, model.types,
                                            parts.special.unknown);
  else
    parts.model = std::make_unique<ScoreBpe>(*parts.vocabulary, model.scores, model.types,
                                             parts.special.unknown);
  if (parts.special.bos) parts.prefix = {*parts.special.bos};
  return parts;
}

}  // namespace tender::text
